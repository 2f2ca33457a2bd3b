"""A running twin of Azure for tests, and what they ask of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from infra.azure_twin.rehearsal.landing_zone import Subscription

ROOT = Path(__file__).parents[2]
GROUP = "rg-mlops"
ARM = "https://management.azure.com"


class TwinClient:
    """A twin that runs; ``environment`` is what a program needs to reach it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.environment: dict[str, str] = msgspec.json.decode((state / "environment.json").read_bytes())
        self.control = httpx.Client(base_url=self.environment["HTTPS_PROXY"], trust_env=False, timeout=120)

    @property
    def subscription(self) -> str:
        return self.environment["AZURE_SUBSCRIPTION_ID"]

    def fail(self, kind: str, **how: Any) -> None:
        """Ask for a fault; see ``infra.azure_twin.faults``."""
        answer = self.control.post("/twin/faults", json={"kind": kind, **how})
        assert answer.status_code == 200, answer.text

    def waiting(self) -> list[dict[str, Any]]:
        """The faults that have not struck as often as they were asked to."""
        found: list[dict[str, Any]] = self.control.get("/twin/faults").json()["waiting"]
        return found

    def reset(self) -> None:
        """No fault waits, no resource exists, no exchange is kept."""
        self.control.delete("/twin/faults")
        self.control.delete("/twin/resources")
        self.control.delete("/twin/exchanges")
        self.control.post("/twin/tokens", json={"seconds": 3600})

    def exchanges(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control.get(
            "/twin/exchanges", params={"method": method, "path": path}
        ).json()
        return found

    def resources(self, kind: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control.get("/twin/resources", params={"type": kind}).json()
        return found

    def groups(self) -> list[str]:
        """Names of the container groups there are."""
        return [each["name"] for each in self.resources("containerGroups")]

    def arm(self, method: str, path: str, version: str, body: object = None) -> httpx.Response:
        """Ask Resource Manager as the owner of the subscription, whatever this process's environment is."""
        answer = Subscription(self.environment).ask(method, path, version, body)
        assert answer.is_success, answer.text
        return answer

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s; the groups are {self.groups()}"
            time.sleep(0.2)

    def wait_for_groups(self, expected: list[str], seconds: float = 60) -> None:
        self.wait_for(lambda: sorted(self.groups()) == sorted(expected), seconds)

    def use(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Let clients that this process makes from now on talk to the twin."""
        for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
            monkeypatch.delenv(name)
        for name, value in (self.environment | more).items():
            monkeypatch.setenv(name, value)


class RunningTwin(TwinClient):
    """A twin in a process of this test's own."""

    def __init__(self, state: Path, process: subprocess.Popen[bytes]) -> None:
        super().__init__(state)
        self.process = process

    def stop(self) -> None:
        self.control.close()
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def running_twin(state: Path, *arguments: str) -> Iterator[RunningTwin]:
    """A twin with its state in a folder, on a port of its own; its containers end with it."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "twin.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.azure_twin", "--state", str(state), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not (state / "environment.json").exists() or not (state / "environment.json").read_bytes():
            assert process.poll() is None, (state / "twin.log").read_text("utf-8")
            assert time.monotonic() < deadline, "the twin did not start"
            time.sleep(0.05)
        twin = RunningTwin(state, process)
        yield twin
        twin.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def azure_twin_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTwin]:
    with running_twin(tmp_path_factory.mktemp("azure-twin")) as twin:
        yield twin


@pytest.fixture
def azure_twin(azure_twin_session: RunningTwin, monkeypatch: pytest.MonkeyPatch) -> RunningTwin:
    """The session's twin, without faults and resources, and this process's environment set to reach it."""
    azure_twin_session.reset()
    azure_twin_session.use(monkeypatch)
    return azure_twin_session
