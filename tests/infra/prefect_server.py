"""A Prefect server of the test session's own, for workers and the flow runs that they start elsewhere."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops.settings import Settings
from tests.e2e.state_folders import state_folder
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_PROMPT": "false",
}


class PrefectServer:
    """The address of a server, and what tests ask of it."""

    def __init__(self, url: str, home: Path, sign_in: str = "") -> None:
        self.url = url
        self.home = home
        self.sign_in = sign_in
        """``user:password``, where it asks for one."""
        # The server ends a silent connection after 5 s, and httpx, too: it might ask at that very moment.
        limits = httpx.Limits(keepalive_expiry=2)
        user, _, password = sign_in.partition(":")
        auth = (user, password) if sign_in else None
        self.api = httpx.Client(base_url=url, trust_env=False, timeout=30, limits=limits, auth=auth)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a worker or client reaches it."""
        return {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(self.home), **QUIET}

    def post(self, path: str, **body: Any) -> Any:
        return self.api.post(path, json=body).raise_for_status().json()

    def deploy(self, entrypoint: str, pool: str, folder: Path, flow_name: str = "", **more: Any) -> str:
        """Declare a deployment of a flow in a folder; return its id."""
        name = entrypoint.partition(":")[2]
        flow = self.post("/flows/", name=flow_name or name.replace("_", "-"))
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
        body = {
            "name": f"{flow_name or name}-{pool}",
            "flow_id": flow["id"],
            "entrypoint": entrypoint,
            "work_pool_name": pool,
            "pull_steps": [step],
        }
        return str(self.post("/deployments/", **body, **more)["id"])

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run; return its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.post(f"/deployments/{deployment}/create_flow_run", **body)["id"])

    def state(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
        return found

    def history(self, run: str) -> list[dict[str, Any]]:
        """The states of a run, oldest first."""
        found = self.api.get("/flow_run_states/", params={"flow_run_id": run}).raise_for_status().json()
        return sorted(found, key=lambda state: str(state["timestamp"]))

    def wait(self, run: str, *types: str, seconds: float = 120) -> dict[str, Any]:
        """The state of a run, once it is of one of these types (of a final one unless given)."""
        wanted = set(types) or FINAL
        deadline = time.monotonic() + seconds
        while (state := self.state(run))["type"] not in wanted:
            assert time.monotonic() < deadline, f"{state['type']} and not {wanted} after {seconds:g} s"
            assert state["type"] not in FINAL, f"{state['type']}: {state['message']}\n{self.logs(run)}"
            time.sleep(0.2)
        return state

    def cancel(self, run: str) -> None:
        self.post(f"/flow_runs/{run}/set_state", state={"type": "CANCELLING"})

    def logs(self, run: str) -> str:
        found = self.post("/logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC", limit=200)
        return "\n".join(each["message"] for each in found)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """The stack's own server on its own PostgreSQL: SQLite refuses writes when several runs begin at once."""
    from deployments.stack.components import servers
    from deployments.stack.processes import Processes

    with state_folder() as folder:
        port = free_port()
        settings = Settings(home=ROOT, state_dir=folder, prefect_port=port)
        parts = [each for each in servers(settings) if each.name in ("postgres", "prefect")]
        processes = Processes(folder)
        server = PrefectServer(settings.prefect_api, folder / "client")
        try:
            for part in parts:
                processes.start(part)
                processes.await_ready([part], lambda _: None)
            yield server
        finally:
            server.api.close()
            for part in reversed(parts):
                processes.stop(part.name)
