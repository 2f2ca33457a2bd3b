"""The parts of the embedded stack on small processes, without servers."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from deployments import local
from deployments.stack import ports, postgres
from deployments.stack.components import client_environment, servers, workers
from deployments.stack.processes import Component, ComponentError, Processes, Record, until
from mlops.settings import Settings

SLEEP = "import time; time.sleep(600)"
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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, state_dir=tmp_path / "state")


@pytest.fixture
def processes(settings: Settings) -> Iterator[Processes]:
    processes = Processes(settings.state)
    yield processes
    for record in processes.records():
        processes.stop(record.name)


@pytest.fixture
def make(settings: Settings) -> Callable[..., Component]:
    def make(name: str, code: str = SLEEP, **fields: object) -> Component:
        component = Component(
            name=name,
            command=(sys.executable, "-c", code),
            cwd=settings.home,
            env=settings.environment(),
            ready=lambda _: True,
            address=name,
            stop_seconds=1,
        )
        return replace(component, **fields)  # type: ignore[arg-type]

    return make


def gone(process: psutil.Process) -> bool:
    """Whether a process ended; where nobody waits for orphans, a zombie stays."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


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

    assert until(lambda: gone(child), 10)


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
    assert until(lambda: gone(child), 1)  # Its memory is gone a moment before it is.


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


def test_restart_touches_only_what_changed_and_what_needs_it(
    settings: Settings, processes: Processes, make: Callable[..., Component]
) -> None:
    def pids(components: list[Component]) -> list[int]:
        local._restart(settings, processes, components, ignore)
        return [record.pid for component in components if (record := processes.running(component.name))]

    first = [make("database"), make("server", needs=("database",)), make("other")]
    before = pids(first)
    assert pids(first) == before

    changed = [first[0], replace(first[1], env=first[1].env | {"PORT": "1"}), first[2]]
    after = pids(changed)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]

    os.kill(after[0], signal.SIGKILL)
    assert until(lambda: processes.running("database") is None, 10)
    last = pids(changed)
    assert [old == new for old, new in zip(after, last, strict=True)] == [False, False, True]


def test_silent_component_is_restarted_unless_it_still_starts(
    settings: Settings, processes: Processes, make: Callable[..., Component], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PATIENCE_SECONDS", 0.1)
    silent = make("silent", ready=lambda _: False, start_seconds=60)
    record = processes.start(silent)

    assert local._restart(settings, processes, [silent], ignore) == [silent]
    assert processes.running("silent") == record
    hung = replace(silent, start_seconds=0)
    assert local._restart(settings, processes, [hung], ignore) == [hung]
    assert not psutil.pid_exists(record.pid)


def test_taken_port_names_port_owner_and_setting_and_starts_nothing(
    settings: Settings, processes: Processes, make: Callable[..., Component]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        blocked = make("prefect", port=port, setting="prefect_port")
        with pytest.raises(ComponentError) as error:
            local._restart(settings, processes, [make("postgres"), blocked], ignore)

    for expected in (str(port), str(os.getpid()), "prefect_port", "MLOPS_PREFECT_PORT"):
        assert expected in str(error.value)
    assert processes.records() == []
    ports.ensure_free("127.0.0.1", port, "prefect_port")


def test_address_of_no_interface_is_said_to_be_unusable() -> None:
    with pytest.raises(ComponentError, match=r"port 4200 of 203\.0\.113\.1 cannot be bound"):
        ports.ensure_free("203.0.113.1", 4200, "prefect_port")


def test_socket_lies_with_the_data_unless_the_path_is_too_long(tmp_path: Path) -> None:
    short, deep = Path("/srv/postgres"), tmp_path / ("d" * 100) / "postgres"

    assert postgres.socket_dir(short) == short
    assert postgres.socket_dir(deep) != postgres.socket_dir(deep / "other")
    assert len(os.fsencode(postgres.socket_dir(deep) / postgres.SOCKET)) <= postgres.LONGEST_SOCKET


@pytest.mark.parametrize(
    ("database", "driver", "expected"),
    [
        ("", "asyncpg", "postgresql+asyncpg://postgres@/mlflow?host=/srv/a%20b/postgres"),
        ("postgresql://ann@db:6432", "psycopg2", "postgresql+psycopg2://ann@db:6432/mlflow"),
        ("postgresql://ann@db:6432/other?sslmode=require", "", "postgresql://ann@db:6432/mlflow?sslmode=require"),
    ],
)
def test_database_url(database: str, driver: str, expected: str) -> None:
    settings = Settings(state_dir=Path("/srv/a b"), database=database)

    assert postgres.url(settings, "mlflow", driver) == expected


def test_stale_lock_files_with_a_recycled_pid_are_removed(tmp_path: Path) -> None:
    data = tmp_path / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("18")
    locks = [data / "postmaster.pid", postgres.socket_dir(data) / f"{postgres.SOCKET}.lock"]
    locks[1].parent.mkdir(exist_ok=True)
    for lock in locks:
        lock.write_text(f"{os.getpid()}\n{data}\n")

    postgres.prepare(data, None)

    assert not [lock for lock in locks if lock.exists()]


def test_path_to_the_data_is_opened_for_walking_not_for_reading(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "state").mkdir(parents=True)
    home.chmod(0o700)

    postgres._open_path(home / "state" / "postgres")

    assert home.stat().st_mode & 0o777 == 0o701


def test_socket_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "socket"
    folder.mkdir()
    uid = folder.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)

    with pytest.raises(ComponentError, match="belongs to another user"):
        postgres._make_private(folder, None)


def test_settings_decide_which_servers_are_embedded(settings: Settings) -> None:
    def names(settings: Settings) -> list[str]:
        return [component.name for component in servers(settings)]

    other = "http://example.org"
    assert names(settings) == ["postgres", "prefect", "mlflow", "reports", "evidently"]
    assert names(msgspec.structs.replace(settings, database="postgresql://db")) == [
        "prefect",
        "mlflow",
        "reports",
        "evidently",
    ]
    assert names(msgspec.structs.replace(settings, mlflow_url=other)) == ["postgres", "prefect", "reports", "evidently"]
    assert names(msgspec.structs.replace(settings, prefect_url=other, mlflow_url=other)) == ["reports", "evidently"]


def test_changed_setting_changes_the_digest_of_what_it_affects(settings: Settings) -> None:
    def digests(settings: Settings) -> dict[str, str]:
        return {component.name: component.digest for component in [*servers(settings), *workers(settings)]}

    before = digests(settings)
    assert digests(settings) == before
    after = digests(msgspec.structs.replace(settings, mlflow_port=5999))
    assert after["mlflow"] != before["mlflow"]
    assert after["worker-training"] != before["worker-training"]
    assert after["postgres"] == before["postgres"]


def test_server_is_no_client_of_itself(settings: Settings) -> None:
    prefect = next(component for component in servers(settings) if component.name == "prefect")

    assert "PREFECT_API_URL" not in prefect.env
    assert client_environment(settings)["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"


def test_nothing_started_is_all_stopped(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    local.down(settings)
    found = local.status(settings)

    assert {item.state for item in found} == {"stopped"}
    assert local._print_status(found) == local.NOT_RUNNING
    assert "worker-training" in capsys.readouterr().out
    assert not settings.state.exists()


def test_record_survives_the_round_trip(processes: Processes, make: Callable[..., Component]) -> None:
    record: Record = processes.start(make("one"))

    assert Processes(processes.state).records() == [record]


def test_workers_share_no_temporary_folder_with_other_users(settings: Settings) -> None:
    for worker in workers(settings):
        assert worker.prepare
        worker.prepare()
        folder = Path(worker.env["TMPDIR"])
        assert folder.is_dir()
        assert folder.is_relative_to(settings.state)


def test_workers_alone_get_the_variables_of_their_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "worker.env"
    file.write_text("# Less than a person may do: A=1\nAZURE_CLIENT_ID=worker\nAZURE_CLIENT_SECRET=\nWITH=a=b\n\n")
    given = msgspec.structs.replace(settings, worker_env_file=file)
    for worker in workers(given):
        assert (worker.env["AZURE_CLIENT_ID"], worker.env["AZURE_CLIENT_SECRET"], worker.env["WITH"]) == (
            "worker",
            "",
            "a=b",
        )
    assert all("WITH" not in server.env for server in servers(given))
    file.write_text("A=1\nno variable\n")
    with pytest.raises(ComponentError, match=r"worker_env_file .*worker\.env, line 2: write NAME=value") as refused:
        workers(given)
    assert "no variable" not in str(refused.value), "it may be a secret"
    file.unlink()
    with pytest.raises(ComponentError, match=r"worker_env_file .*worker\.env cannot be read"):
        workers(given)
