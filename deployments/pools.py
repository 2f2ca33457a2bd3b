"""The work pools of the profile: created when absent, mended when their files changed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from deployments.results import result_environment
from mlops.adapters.sign_in import servers_sign_in
from mlops.settings import PREFIX, Settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.actions import WorkPoolCreate

SETTING = re.compile(r"\{\{ \$(MLOPS_\w+) \}\}")
"""A setting in a pool's file, written as prefect.yaml writes variables."""
OF_THIS_MACHINE = (
    "home", "state_dir", "host", "database", "secrets_dir", "worker_env_file", "azure_sign_in", "azure_client_id",
)  # fmt: skip
"""Settings that a container does not inherit: where things are here, and who this process signs in as."""


CONTAINER_GROUPS = "azure-container-instance"


class PoolError(RuntimeError):
    """A work pool's file or the pool of that name on the server cannot be used."""


def ensure_pools(settings: Settings) -> list[str]:
    """Make the pools on the Prefect server those of the settings' folder; return the changed ones.

    The folder is ``infra/work_pools/<profile>`` unless the setting ``work_pools`` names another.

    Each file is what Prefect's API takes for a new pool; the pool is named like the file.

    Raises:
        PoolError: a file is invalid, there is none, or a pool exists with another type.
    """
    from prefect import get_client

    from flows.api import prefect_api

    folder = (settings.home / "infra" / "work_pools" / (settings.work_pools or settings.profile)).resolve()
    files = sorted(folder.glob("*.json"))
    if not files:
        raise PoolError(f"no work pools in {folder}")
    # A client made by hand would know no PREFECT_API_AUTH_STRING.
    with prefect_api(settings), get_client(sync_client=True) as client:
        return [file.stem for file in files if _ensure(client, read(file, settings))]


def read(file: Path, settings: Settings) -> "WorkPoolCreate":
    """Read a pool's file and fill in the settings that it names.

    Flow runs in a process start in the checkout unless the file says otherwise. Flow runs in containers get the
    settings that hold everywhere as variables; secrets are no settings, so none is among them.

    Raises:
        PoolError: it is no JSON, no work pool, names a setting that is unknown or empty, or flow runs of it would not
            reach the servers.
    """
    from prefect.client.schemas.actions import WorkPoolCreate

    try:
        text = _filled(file, file.read_text("utf-8"), settings.environment())
        pool = WorkPoolCreate.model_validate({**msgspec.json.decode(text), "name": file.stem})
        variables = pool.base_job_template["variables"]["properties"]
    except (ValueError, TypeError, KeyError) as error:  # pydantic's and msgspec's errors are ValueErrors
        raise PoolError(f"{file} is no work pool: {error}") from None
    if "working_dir" in variables and variables["working_dir"].get("default") is None:
        variables["working_dir"]["default"] = str(settings.home.resolve())
    if pool.type != "process" and "env" in variables:
        _refuse_addresses_of_this_machine(file, settings)
        _refuse_a_sign_in_of_this_machine(file, settings)
        variables["env"]["default"] = container_environment(settings) | variables["env"].get("default", {})
        if pool.type == CONTAINER_GROUPS and settings.azure_servers_secret:
            # Its worker puts its own password into the template otherwise; flows.start reads the true one.
            variables["env"]["default"]["PREFECT_API_AUTH_STRING"] = "in the vault"
    if settings.azure_servers_secret and "secret_env" in variables:
        held = {"PREFECT_API_AUTH_STRING": settings.azure_servers_secret}
        variables["secret_env"]["default"] = held | variables["secret_env"].get("default", {})
    return pool


def container_environment(settings: Settings) -> dict[str, str]:
    """The settings as variables for a process that does not run on this machine."""
    local = {f"{PREFIX}{name.upper()}" for name in OF_THIS_MACHINE}
    shared = {k: v for k, v in settings.environment().items() if k not in local and not k.endswith("_PORT")}
    addresses = {
        "store": settings.store_uri,
        "mlflow_url": settings.mlflow_uri,
        "prefect_url": settings.prefect_api,
        "reports_url": settings.reports_uri,
        "evidently_url": settings.evidently_uri,
    }
    told = {f"{PREFIX}{name.upper()}": value for name, value in addresses.items()}
    return shared | told | result_environment(settings)


def _refuse_addresses_of_this_machine(file: Path, settings: Settings) -> None:
    """Refuse a Prefect server elsewhere beside an MLflow server here: flow runs elsewhere would not find that one."""
    if settings.prefect_url and not settings.mlflow_url:
        raise PoolError(
            f"{file} is for flow runs on other machines, which reach {settings.prefect_url}, but would look for MLflow"
            f" at {settings.mlflow_uri}: set mlflow_url (MLOPS_MLFLOW_URL) to an address that they reach"
        )


def _refuse_a_sign_in_of_this_machine(file: Path, settings: Settings) -> None:
    """Refuse servers whose password flow runs elsewhere could not read."""
    if not settings.azure_servers_secret and servers_sign_in(settings):
        raise PoolError(
            f"{file} is for flow runs on other machines, and the servers ask for a password that is on this one alone:"
            " keep it in the vault, and name the secret in azure_servers_secret (MLOPS_AZURE_SERVERS_SECRET)"
        )


def _filled(file: Path, text: str, known: Mapping[str, str]) -> str:
    """A file's text with its settings as JSON strings' contents."""

    def value(found: re.Match[str]) -> str:
        if not (given := known.get(found[1])):
            name = found[1].removeprefix(PREFIX).lower()
            raise PoolError(f"{file} needs the setting {name} ({found[1]}), which is not set")
        return msgspec.json.encode(given).decode()[1:-1]

    return SETTING.sub(value, text)


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
