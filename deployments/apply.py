"""Applies ``prefect.yaml`` to a Prefect server: pools, deployments, schedules, automations; idempotent.

Prefect's own ``deploy`` deletes a deployment's automations and makes them anew, which loses a
running cool-down and a switch-off in the UI. So nothing is deployed that has not changed, and
what was switched off stays off.
"""

import argparse
import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from deployments import automations
from mlops import settings as settings_module
from mlops.settings import Settings, SettingsError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.responses import DeploymentResponse


def apply(settings: Settings) -> bool:
    """Bring the server of the settings to what ``prefect.yaml`` declares; return whether anything changed.

    Raises:
        RuntimeError: ``prefect deploy`` failed; the message holds what it printed.
    """
    from deployments.pools import ensure_pools
    from deployments.results import ensure_result_storage
    from flows.api import prefect_api

    with prefect_api(settings):
        ensure_result_storage(settings)
        ensure_pools(settings)
        version = _digest(settings)
        before = asyncio.run(_deployed(settings))
        asyncio.run(automations.ensure(automations.lost_runs(), automations.runs_that_never_started()))
        if before and all(found is not None and found.version == version for found in before.values()):
            return False
        disabled = asyncio.run(_disabled(before))
        _deploy(settings, version)
        asyncio.run(_disable(disabled))
    return True


def _digest(settings: Settings) -> str:
    """Names what was deployed: the declaration, the flows' signatures and where they run."""
    digest = hashlib.sha256(f"{settings.profile} {settings.home.resolve()}".encode())
    for file in [settings.home / "prefect.yaml", *sorted((settings.home / "flows").glob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _deploy(settings: Settings, version: str) -> None:
    from flows.api import sign_in_variables

    variables = {
        **settings.environment(),
        # Resolved where the flow runs: the checkout is elsewhere in a container.
        "MLOPS_HOME": "{{ $MLOPS_HOME }}",
        "MLOPS_DEPLOYMENT": version,
        "PREFECT_API_URL": settings.prefect_api,
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "1",
    }
    variables |= sign_in_variables(settings)
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=settings.home,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"prefect deploy failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")


def _declared(settings: Settings) -> list[str]:
    """Names ``<flow>/<deployment>`` that prefect.yaml declares."""
    declared = yaml.safe_load(Path(settings.home, "prefect.yaml").read_text("utf-8"))["deployments"]
    return [f"{each['entrypoint'].rpartition(':')[2]}/{each['name']}" for each in declared]


async def _deployed(settings: Settings) -> dict[str, "DeploymentResponse | None"]:
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    async def read(client: "PrefectClient", name: str) -> "DeploymentResponse | None":
        try:
            return await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None

    async with get_client() as client:
        return {name: await read(client, name) for name in _declared(settings)}


async def _disabled(deployed: dict[str, "DeploymentResponse | None"]) -> set[str]:
    """Names of the deployments' automations that someone switched off."""
    from prefect import get_client

    names: set[str] = set()
    async with get_client() as client:
        for found in filter(None, deployed.values()):
            owned = await client.read_resource_related_automations(f"prefect.deployment.{found.id}")
            names |= {automation.name for automation in owned if not automation.enabled}
    return names


async def _disable(names: set[str]) -> None:
    from prefect import get_client

    async with get_client() as client:
        for automation in await client.read_automations() if names else []:
            if automation.name in names:
                await client.pause_automation(automation.id)


def main(arguments: list[str] | None = None) -> int:
    """Run ``python -m deployments.apply``."""
    argparse.ArgumentParser(prog="python -m deployments.apply", description=__doc__.partition("\n")[0]).parse_args(
        arguments
    )
    import httpx

    from deployments.pools import PoolError
    from mlops.adapters.azure_vault import VaultError
    from mlops.adapters.sign_in import SignInError

    settings = settings_module.load()
    try:
        changed = apply(settings)
    except (SettingsError, PoolError, SignInError, VaultError, httpx.HTTPError) as error:
        asked = f"{settings.prefect_api}: " if isinstance(error, httpx.HTTPError) else ""
        sys.stderr.write(f"deploy: {asked}{error}\n")
        return 1
    sys.stdout.write(f"{'deployed' if changed else 'unchanged'}: {', '.join(_declared(settings))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
