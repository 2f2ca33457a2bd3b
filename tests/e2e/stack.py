"""A stack in a state directory and on ports of its own, asked through its command line and Prefect's API."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
T = TypeVar("T")


class Stack:
    """The environment of a stack, what it wrote and its servers."""

    def __init__(self, state: Path, home: Path = ROOT) -> None:
        prefect, mlflow, reports, evidently, scoring = free_ports(5)
        self.state = state
        self.home = home
        self.variables = {
            "MLOPS_HOME": str(home),
            "MLOPS_STATE_DIR": str(state),
            "MLOPS_PREFECT_PORT": str(prefect),
            "MLOPS_MLFLOW_PORT": str(mlflow),
            "MLOPS_REPORTS_PORT": str(reports),
            "MLOPS_EVIDENTLY_PORT": str(evidently),
            "MLOPS_SCORING_PORT": str(scoring),
        }
        limits = httpx.Limits(keepalive_expiry=2)  # The server ends silent connections after 5 s.
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{prefect}/api", trust_env=False, timeout=30, limits=limits)
        self.ports = (prefect, mlflow, reports, evidently)

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.home,
            env=os.environ | self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1300,  # The demo took half of it alone on two slow cores.
            check=False,
        )

    @property
    def written(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "demo.json").read_text("utf-8"))
        return found

    def ask(self, path: str, **query: Any) -> Any:
        response = self.api.post(path, json=query) if query else self.api.get(path)
        return response.raise_for_status().json()

    def ask_list(self, path: str, items: list[dict[str, Any]]) -> None:
        """Post a list, to which nothing is answered."""
        self.api.post(path, json=items).raise_for_status()

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(f"/deployments/name/{name}")
        return found

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run of a deployment; return its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask(f"/deployments/{self.deployment(deployment)['id']}/create_flow_run", **body)["id"])

    def finish(self, deployment: str, **parameters: Any) -> dict[str, Any]:
        """Run a deployment to its end."""
        run = self.start(deployment, **parameters)
        return self.wait(lambda: self.ended(run))

    def state_of(self, run_id: str, *types: str) -> dict[str, Any] | None:
        """A run, once it is in a state of one of these types."""
        run: dict[str, Any] = self.ask(f"/flow_runs/{run_id}")
        return run if run["state_type"] in types else None

    def ended(self, run_id: str) -> dict[str, Any] | None:
        return self.state_of(run_id, *FINAL)

    def wait(self, condition: Callable[[], T | None], seconds: float = 120) -> T:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.5)
        raise AssertionError(f"not within {seconds} s")
