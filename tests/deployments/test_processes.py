"""Processes of the embedded stack: detached, recorded, and ended with all that they started."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from deployments.stack.processes import Component, ComponentError, Processes, Record, until
from tests.deployments.conftest import SLEEP
from tests.waiting import gone

PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"
)

TALKING = """
import signal, sys, time
def end(*_):
    print("{name} off", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
"""
CHILD = TALKING.format(name="child") + "print('child on', flush=True); time.sleep(600)"
WORKER = (
    "import subprocess, sys"
    + TALKING.format(name="parent")
    + f"subprocess.Popen([sys.executable, '-c', {CHILD!r}]); time.sleep(600)"
)


def ignore(_: object) -> None:
    """Take a line of progress, or a component that is ready."""


def test_started_process_is_detached_recorded_and_ended(processes: Processes, make: Callable[..., Component]) -> None:
    record = processes.start(make("one"))

    assert processes.running("one") == record
    assert os.getsid(record.pid) == record.pid != os.getsid(0)
    assert processes.stop("one")
    assert not psutil.pid_exists(record.pid)
    assert processes.records() == []
    assert not processes.stop("one")


def test_what_a_background_job_starts_can_be_interrupted(processes: Processes, make: Callable[..., Component]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # As a shell has it for its background jobs.
    try:
        record = processes.start(make("one"))
    finally:
        signal.signal(signal.SIGINT, before)
    child = psutil.Process(record.pid)
    os.kill(record.pid, signal.SIGINT)

    assert until(lambda: gone(child.pid), 10)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as process:
        yield process
        process.kill()


def test_recycled_pid_is_neither_ours_nor_ended(
    processes: Processes, make: Callable[..., Component], stranger: subprocess.Popen[bytes]
) -> None:
    record = processes.start(make("one"))
    processes.stop("one")
    stale = msgspec.structs.replace(record, pid=stranger.pid, created=record.created - 3600)
    (processes.run / "one.json").write_bytes(msgspec.json.encode(stale))

    assert processes.running("one") is None
    assert processes.members(stale) == []
    assert not processes.stop("one")
    assert stranger.poll() is None


def test_children_of_a_killed_leader_are_ended(processes: Processes, make: Callable[..., Component]) -> None:
    record = processes.start(make("server", PARENT))
    assert until(lambda: len(processes.members(record)) == 2, 10)
    child = next(process for process in processes.members(record) if process.pid != record.pid)
    os.kill(record.pid, signal.SIGKILL)

    assert until(lambda: processes.running("server") is None, 10)
    assert processes.members(record) == [child]
    assert processes.stop("server")
    assert until(lambda: gone(child.pid), 10)  # Its memory is gone a moment before it is.


def test_process_that_ignores_the_stop_signal_is_killed(processes: Processes, make: Callable[..., Component]) -> None:
    record = processes.start(make("stubborn", STUBBORN, stop_seconds=0.2))
    assert until(lambda: "on" in processes.tail("stubborn"), 10)

    assert processes.stop("stubborn")
    assert not psutil.pid_exists(record.pid)


def test_children_that_report_are_ended_first(processes: Processes, make: Callable[..., Component]) -> None:
    record = processes.start(make("worker", WORKER, children_first=True, stop_seconds=10))
    assert until(lambda: processes.tail("worker") == "child on", 10)

    assert processes.stop("worker")
    assert processes.tail("worker").split("\n") == ["child on", "child off", "parent off"]
    assert not psutil.pid_exists(record.pid)


def test_suspended_process_does_not_run_and_is_ended(processes: Processes, make: Callable[..., Component]) -> None:
    record = processes.start(make("one"))
    os.kill(record.pid, signal.SIGSTOP)

    assert until(lambda: processes.running("one") is None, 10)
    assert processes.stop("one")
    assert not psutil.pid_exists(record.pid)


def test_half_written_record_is_dropped(processes: Processes) -> None:
    processes.run.mkdir(parents=True)
    (processes.run / "one.json").write_text('{"name": "one", "pi')

    assert processes.record("one") is None
    assert not processes.stop("one")
    assert not (processes.run / "one.json").exists()


def test_component_that_ends_at_its_start_shows_its_log(processes: Processes, make: Callable[..., Component]) -> None:
    component = make("broken", "raise SystemExit('no such table: gates')", ready=lambda _: False)
    processes.start(component)

    with pytest.raises(ComponentError, match=r"(?s)broken ended while it started.*broken\.log.*no such table: gates"):
        processes.await_ready([component], ignore)


def test_component_that_does_not_answer_in_time_is_named(processes: Processes, make: Callable[..., Component]) -> None:
    component = make("silent", ready=lambda _: False, start_seconds=0.2)
    processes.start(component)

    with pytest.raises(ComponentError, match="silent does not answer"):
        processes.await_ready([component], ignore)


def test_variables_of_another_installation_do_not_leak(
    processes: Processes, make: Callable[..., Component], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://example.org/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.org")
    monkeypatch.setenv("MLOPS_DATABASE", "postgresql://example.org")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    processes.start(make("print", "import os; print(dict(os.environ))"))

    assert until(lambda: processes.running("print") is None, 10)
    seen = processes.tail("print")
    assert "LANG" in seen
    assert f"'PATH': '{Path(sys.executable).parent}{os.pathsep}" in seen
    assert not [name for name in ("example.org", "PGPASSWORD") if name in seen]
    processes.start(make("print", "import os; print(dict(os.environ))", keep=("PG",)))
    assert until(lambda: processes.running("print") is None, 10)
    assert "PGPASSWORD" in processes.tail("print")


def test_record_survives_the_round_trip(processes: Processes, make: Callable[..., Component]) -> None:
    record: Record = processes.start(make("one"))

    assert Processes(processes.state).records() == [record]
