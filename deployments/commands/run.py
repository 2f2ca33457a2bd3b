"""``mlops run``: start a run of a deployment, on the Prefect server of the settings."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

BAD_INPUT = 2
WAITS = 3
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
MAY_PASS = (404, 408, 429, 500, 502, 503, 504)
"""What a server answers while it starts, or another one in its place."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser("run", help="start a run of a deployment, which its pool's worker takes up")
    parser.add_argument("deployment", help="as prefect.yaml names it, such as training")
    parser.add_argument("parameters", nargs="*", metavar="name=value", help="such as model=iris")
    parser.add_argument(
        "--wait", action="store_true", help="until it is over (code 1 unless it completed) or waits for approval (3)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Start it, and print where its run can be seen."""
    import httpx
    from prefect import get_client
    from prefect.client.schemas.filters import DeploymentFilter
    from prefect.deployments import run_deployment

    from flows.api import prefect_api
    from mlops import settings as settings_module

    settings = settings_module.load()
    with prefect_api(settings):
        try:
            with get_client(sync_client=True) as client:
                wanted = DeploymentFilter.model_validate({"name": {"any_": [options.deployment]}})
                found = client.read_deployments(deployment_filter=wanted)
                known = found or client.read_deployments(limit=100)
                flow = client.read_flow(found[0].flow_id).name if found else ""
        except httpx.HTTPStatusError as error:
            return _refuse(f"the Prefect server at {settings.prefect_api} refused: {_first_line(error)}")
        except httpx.TransportError as error:
            return _refuse(f"no Prefect server answers at {settings.prefect_api} ({error}); `make up` starts one here")
        if not found:
            names = ", ".join(sorted(each.name for each in known)) or "none: run `make deploy`"
            return _refuse(f"there is no deployment {options.deployment!r}; there are {names}")
        try:
            parameters = _parameters(found[0], options.parameters)
        except ValueError as error:
            return _refuse(str(error))
        name = f"{flow}/{found[0].name}"
        started: Any = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
        sys.stdout.write(f"{started.name}: {settings.prefect_ui}/runs/flow-run/{started.id}\n")
        sys.stdout.flush()
        return _wait(started.id) if options.wait else 0


def _wait(run_id: UUID) -> int:
    """Wait for a run's end, or for the approval that it waits for itself; say how it is."""
    import httpx
    from prefect import get_client

    patience = time.monotonic() + PATIENCE_SECONDS
    with get_client(sync_client=True) as client:
        while True:
            try:
                state = client.read_flow_run(run_id).state
                patience = time.monotonic() + PATIENCE_SECONDS
            except httpx.HTTPError as error:
                # The server starts again, the network is away, or what stands before the server says so.
                passes = not isinstance(error, httpx.HTTPStatusError) or error.response.status_code in MAY_PASS
                if not passes or time.monotonic() > patience:
                    return _refuse(f"the run cannot be followed any more: {_first_line(error)}")
                state = None
            if state and (state.is_final() or state.is_paused()):
                sys.stdout.write(f"{state.name} {state.message or ''}".rstrip() + "\n")
                return 0 if state.is_completed() else WAITS if state.is_paused() else 1
            time.sleep(POLL_SECONDS)


def _parameters(deployment: "DeploymentResponse", given: list[str]) -> dict[str, Any]:
    """Parameters by name: texts as they are, anything else as JSON.

    Raises:
        ValueError: one is unknown, missing, or no JSON; the message says which.
    """
    schema = deployment.parameter_openapi_schema or {}
    known: dict[str, Any] = schema.get("properties", {})
    found: dict[str, Any] = {}
    for each in given:
        name, sign, text = each.partition("=")
        if not sign or name not in known:
            raise ValueError(
                f"{each!r} is no parameter of {deployment.name}; write {', '.join(f'{k}=…' for k in sorted(known))}"
            )
        kinds = {kind.get("type") for kind in (known[name], *known[name].get("anyOf", ()))}
        try:
            found[name] = text if "string" in kinds else json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{each!r}: {error}; {name} is of type {' or '.join(filter(None, kinds))}") from None
    if missing := [name for name in schema.get("required", ()) if name not in found | deployment.parameters]:
        raise ValueError(f"{deployment.name} needs {', '.join(f'{name}=…' for name in missing)}")
    return found


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refuse(reason: str) -> int:
    sys.stderr.write(f"mlops: {reason}\n")
    return BAD_INPUT
