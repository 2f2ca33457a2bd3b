"""The work pools of the profile: created when absent, mended when their files changed."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlops.settings import Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import WorkPoolCreate


class PoolError(RuntimeError):
    """A work pool's file or the pool of that name on the server cannot be used."""


def ensure_pools(settings: Settings) -> list[str]:
    """Make the pools on the Prefect server those of ``infra/work_pools/<profile>``; return the changed ones.

    Each file is what Prefect's API takes for a new pool; the pool is named like the file.

    Raises:
        PoolError: a file is invalid, there is none, or a pool exists with another type.
    """
    from prefect.client.orchestration import SyncPrefectClient

    files = sorted((settings.home / "infra" / "work_pools" / settings.profile).resolve().glob("*.json"))
    if not files:
        raise PoolError(f"no work pools in {settings.home}/infra/work_pools/{settings.profile}")
    with SyncPrefectClient(settings.prefect_api) as client:
        return [file.stem for file in files if _ensure(client, read(file, settings))]


def read(file: Path, settings: Settings) -> "WorkPoolCreate":
    """Read a pool's file; flow runs in a process start in the checkout unless it says otherwise.

    Raises:
        PoolError: it is no JSON or no work pool.
    """
    from prefect.client.schemas.actions import WorkPoolCreate

    try:
        pool = WorkPoolCreate.model_validate({**msgspec.json.decode(file.read_bytes()), "name": file.stem})
        variables = pool.base_job_template["variables"]["properties"]
    except (ValueError, TypeError, KeyError) as error:  # pydantic's and msgspec's errors are ValueErrors
        raise PoolError(f"{file} is no work pool: {error}") from None
    if "working_dir" in variables and variables["working_dir"].get("default") is None:
        variables["working_dir"]["default"] = str(settings.home.resolve())
    return pool


def _ensure(client: "SyncPrefectClient", wanted: "WorkPoolCreate") -> bool:
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        found = client.read_work_pool(wanted.name)
    except ObjectNotFound:
        # Overwrite: a worker that came first may have made a pool of that name meanwhile.
        client.create_work_pool(wanted, overwrite=True)
        return True
    if found.type != wanted.type:
        raise PoolError(
            f"work pool {wanted.name!r} is of type {found.type!r}, and a pool's type cannot be changed "
            f"to {wanted.type!r}: delete it (`prefect work-pool delete {wanted.name}`) and try again"
        )
    # Whether a pool is paused and how much runs at once belong to the operator.
    changes = {
        name: getattr(wanted, name)
        for name in ("description", "base_job_template")
        if getattr(found, name) != getattr(wanted, name)
    }
    if changes:
        client.update_work_pool(wanted.name, WorkPoolUpdate(**changes))
    return bool(changes)
