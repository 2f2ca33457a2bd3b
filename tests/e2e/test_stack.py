"""The embedded stack as ``make up`` and ``make down`` run it, in a state directory and on ports of its own.

Its servers ask for a user and password, as those on Azure do; the demo's ask for none.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from deployments.stack import postgres
from deployments.stack.components import client_environment
from deployments.stack.processes import Processes, Record, until
from mlops.adapters.services import open_services
from mlops.adapters.sign_in import FILE
from mlops.adapters.store import open_store
from mlops.settings import Settings
from tests.e2e.state_folders import owned_processes, state_folder
from tests.ports import free_port, free_ports

ROOT = Path(__file__).parents[2]
COMPONENTS = ("postgres", "prefect", "mlflow", "reports", "evidently", "worker-training", "worker-operations")
pytestmark = pytest.mark.timeout(300)

DEPLOY = """
import sys
from prefect import flow
from prefect.deployments import run_deployment
if __name__ == "__main__":
    source = flow.from_source(source=sys.argv[1], entrypoint="probe.py:probe")
    source.deploy("test", work_pool_name="training", build=False, push=False, print_next_steps=False)
    run_deployment("probe/test", parameters={"report": sys.argv[2]}, timeout=0)
"""
PROBE = """
import os, sys, time
from pathlib import Path
from prefect import flow
@flow
def probe(report: str):
    draft = Path(report).with_suffix(".draft")
    draft.write_text(f"{os.getpid()} {sys.executable}")
    draft.rename(report)
    time.sleep(600)
"""
SIGN_IN = ("mlops", "a:password")
LOG_RUN = """
from mlops import settings
from mlops.adapters.registry import open_registry
print(open_registry(settings.load()).log_run("iris", "probe", {}, {"accuracy": 1.0}, {}))
"""
SERVE = """
from mlops import settings
from mlops.adapters.services import open_services
from mlops.adapters.sign_in import FILE
open_services(settings.load()).ensure("iris", "uat")
"""


class Stack:
    """A stack of its own: its settings, its command line and its processes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.processes = Processes(settings.state)

    def run(self, command: str, **changed: int) -> subprocess.CompletedProcess[str]:
        settings = msgspec.structs.replace(self.settings, **changed)
        return self.python("-m", "deployments.local", command, settings=settings)

    def up(self, **changed: int) -> dict[str, int]:
        """Bring the stack up; return the pids."""
        done = self.run("up", **changed)
        assert done.returncode == 0, done.stdout + done.stderr
        return {name: self.record(name).pid for name in COMPONENTS}

    def record(self, name: str) -> Record:
        record = self.processes.running(name)
        assert record, f"{name} does not run"
        return record

    def kill(self, name: str) -> None:
        os.kill(self.record(name).pid, signal.SIGKILL)
        assert until(lambda: self.processes.running(name) is None, 10)

    def python(self, *arguments: str, settings: Settings | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | client_environment(settings or self.settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


def make_settings(state: Path) -> Settings:
    prefect, mlflow, reports, evidently, scoring = free_ports(5)
    return Settings(
        home=ROOT,
        state_dir=state,
        prefect_port=prefect,
        mlflow_port=mlflow,
        reports_port=reports,
        evidently_port=evidently,
        scoring_port=scoring,
    )


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with state_folder() as folder:
        # So deep that a Unix socket's path does not fit: it must work there, too.
        stack = Stack(make_settings(folder / ("state-" * 20) / ".local"))
        stack.settings.secrets.mkdir(parents=True)
        (stack.settings.secrets / FILE).write_text(":".join(SIGN_IN))
        yield stack
        stack.run("down")
        shutil.rmtree(postgres.socket_dir(postgres.data_dir(stack.settings)))


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that is none of the stack's."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as process:
        yield process
        process.kill()


def get(url: str, auth: tuple[str, str] | None = SIGN_IN) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30, auth=auth)


def test_up_brings_every_part_and_status_says_so(stack: Stack) -> None:
    pids = stack.up()
    done = stack.run("status")

    assert done.returncode == 0
    for name, pid in pids.items():
        row = next(line for line in done.stdout.splitlines() if line.startswith(f"{name} "))
        assert "running" in row
        assert str(pid) in row
    assert get(f"{stack.settings.prefect_api}/ready").status_code == 200
    assert get(stack.settings.prefect_ui).status_code == 200
    for host in ("127.0.0.1", "localhost"):
        experiments = f"http://{host}:{stack.settings.mlflow_port}/api/2.0/mlflow/experiments/search?max_results=1"
        assert get(experiments).status_code == 200
    open_store(stack.settings.store_uri).put("iris/reports/drift.html", b"<h1>drift</h1>")
    assert get(f"{stack.settings.reports_uri}/iris/reports/drift.html").text == "<h1>drift</h1>"


def test_every_server_asks_for_the_sign_in_and_ours_have_it(stack: Stack) -> None:
    stack.up()  # Its workers have been seen by the server.
    settings = stack.settings
    experiments = "/api/2.0/mlflow/experiments/search?max_results=1"
    for url in (
        f"{settings.prefect_api}/work_pools/training",
        f"{settings.mlflow_uri}/",
        f"{settings.mlflow_uri}{experiments}",
        f"{settings.mlflow_uri}/ajax-{experiments.removeprefix('/')}",
        f"{settings.reports_uri}/iris/reports/drift.html",
        f"{settings.evidently_uri}/",
        f"{settings.evidently_uri}/api/projects",
    ):
        assert [get(url, auth).status_code for auth in (None, ("mlops", "other"), ("a", "password"))] == [401] * 3, url
        assert get(url).status_code in (200, 404), url
    done = stack.python("-c", LOG_RUN)
    assert done.returncode == 0, done.stderr
    logged = get(f"{settings.mlflow_uri}/api/2.0/mlflow/runs/get?run_id={done.stdout.split()[-1]}").json()
    assert logged["run"]["data"]["metrics"][0]["value"] == 1.0
    for log in (settings.state / "logs").iterdir():
        assert SIGN_IN[1] not in log.read_text("utf-8", "replace"), log
    for record in (settings.state / "run").glob("*.json"):
        assert SIGN_IN[1] not in record.read_text(), record


def test_postgres_is_reached_by_its_socket_alone(stack: Stack) -> None:
    server = psutil.Process(stack.up()["postgres"])

    assert server.net_connections("inet") == []
    folder = postgres.socket_dir(postgres.data_dir(stack.settings))
    assert (folder / ".s.PGSQL.5432").is_socket()
    assert folder.stat().st_mode & 0o077 == 0


def test_up_again_leaves_everything_alone(stack: Stack) -> None:
    assert stack.up() == stack.up()


@pytest.mark.parametrize(
    ("killed", "restarted"),
    [
        ("postgres", {"postgres", "prefect", "mlflow"}),
        # Its child outlives it and holds the port.
        ("mlflow", {"mlflow"}),
        ("reports", {"reports"}),
        ("worker-training", {"worker-training"}),
    ],
)
def test_up_mends_what_was_killed(stack: Stack, killed: str, restarted: set[str]) -> None:
    before = stack.up()
    stack.kill(killed)
    after = stack.up()

    assert {name for name in COMPONENTS if before[name] != after[name]} == restarted
    assert stack.run("status").returncode == 0


def test_up_mends_everything_after_a_reboot_even_when_called_twice_at_once(
    stack: Stack, stranger: subprocess.Popen[bytes]
) -> None:
    before = stack.up()
    records = [stack.record(name) for name in COMPONENTS]
    for process in [member for record in records for member in stack.processes.members(record)]:
        process.kill()
    assert until(lambda: not any(stack.processes.running(name) for name in COMPONENTS), 10)
    # After a reboot other processes have the pids.
    for record in records:
        stale = msgspec.structs.replace(record, pid=stranger.pid, created=record.created - 3600)
        (stack.processes.run / f"{record.name}.json").write_bytes(msgspec.json.encode(stale))
    pid_file = postgres.data_dir(stack.settings) / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(before["postgres"]), str(stranger.pid), 1))

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda _: stack.up(), range(2))

    assert first == second
    assert not set(first.values()) & {*before.values(), stranger.pid}
    assert stranger.poll() is None


def test_changed_port_restarts_what_it_affects(stack: Stack) -> None:
    before = stack.up()
    port = free_port()
    after = stack.up(reports_port=port)

    assert before["reports"] != after["reports"]
    assert {name: before[name] for name in COMPONENTS[:3]} == {name: after[name] for name in COMPONENTS[:3]}
    assert get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_taken_port_is_an_error_that_says_whose_and_which_setting(tmp_path: Path) -> None:
    stack = Stack(make_settings(tmp_path))
    with socket.create_server(("127.0.0.1", stack.settings.mlflow_port)):
        done = stack.run("up")

    assert done.returncode == 1
    for expected in (str(stack.settings.mlflow_port), str(os.getpid()), "mlflow_port", "MLOPS_MLFLOW_PORT"):
        assert expected in done.stderr
    assert stack.processes.records() == []


def test_down_ends_flow_runs_and_services_and_leaves_nothing(stack: Stack, tmp_path: Path) -> None:
    stack.up()
    # By a process that ends at once, as a flow run does.
    done = stack.python("-c", SERVE)
    assert done.returncode == 0, done.stderr
    scoring = open_services(stack.settings).describe("iris", "uat")
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "deploy.py").write_text(DEPLOY)
    report = tmp_path / "report"
    done = stack.python(str(tmp_path / "deploy.py"), str(tmp_path), str(report))
    assert done.returncode == 0, done.stderr
    assert until(report.exists, 120), stack.processes.tail("worker-training", 60)
    pid, python = report.read_text().split()
    assert python == sys.executable
    pids = [*(stack.record(name).pid for name in COMPONENTS), int(pid), scoring.pid]

    done = stack.run("down")

    assert done.returncode == 0, done.stderr
    assert owned_processes(stack.settings.state) == []
    assert not [pid for pid in pids if pid and psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    listening = {c.laddr[1] for c in psutil.net_connections("tcp") if c.laddr and c.status == psutil.CONN_LISTEN}
    settings = stack.settings
    assert not listening & {
        settings.prefect_port,
        settings.mlflow_port,
        settings.reports_port,
        settings.evidently_port,
    }
    assert int(scoring.url.rpartition(":")[2]) not in listening
    assert stack.run("status").returncode == 3
    assert stack.run("down").returncode == 0

    stack.up()
    again = open_services(stack.settings).describe("iris", "uat")
    assert (again.status, again.url) == ("running", scoring.url)
    assert get(f"{scoring.url}/healthz").status_code == 200
    runs = httpx.post(f"{stack.settings.prefect_api}/flow_runs/filter", json={}, trust_env=False, auth=SIGN_IN).json()
    assert [run["state"]["type"] for run in runs] == ["CRASHED"]
