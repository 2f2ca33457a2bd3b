"""Scoring services as processes: one each, on a port of its own, found again whatever was killed."""

import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from mlops.adapters.services import Service, ServiceError, key_file, open_services
from mlops.adapters.services.local import LocalServices
from mlops.adapters.services.ports import Ports
from mlops.settings import Settings, SettingsError
from tests.adapters.services_contract import Member, ServicesContract, eventually
from tests.ports import free_port
from tests.waiting import gone


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, scoring_port=free_port())


@pytest.fixture
def services(settings: Settings) -> Iterator[LocalServices]:
    services = LocalServices(settings)
    yield services
    for service in services.recorded():
        services.remove(service.model, service.environment)


@pytest.fixture
def listener() -> Iterator[Callable[[int], None]]:
    opened: list[socket.socket] = []

    def listen(port: int) -> None:
        opened.append(socket.create_server(("127.0.0.1", port)))

    yield listen
    for each in opened:
        each.close()


def healthy(service: Service) -> bool:
    try:
        return bool(httpx.get(f"{service.url}/healthz", trust_env=False).json()["pid"] == service.pid)
    except httpx.TransportError:
        return False


class TestContract(ServicesContract):
    @pytest.fixture
    def member(self, settings: Settings, services: LocalServices, tmp_path: Path) -> Member:  # noqa: ARG002
        # The fixture ``services`` removes what the tests start.
        unstartable = Settings(home=tmp_path / "other", scoring_port=free_port(), store="ftp://nowhere")
        return Member(settings, LocalServices, unstartable)


def test_a_removed_service_leaves_neither_process_nor_claim(settings: Settings, services: LocalServices) -> None:
    service = services.ensure("iris", "uat")
    assert healthy(service)
    assert service.url in services.logs("iris", "uat")
    services.remove("iris", "uat")
    assert gone(service.pid)
    assert gone(service.supervisor)
    assert list((settings.state / "services" / "ports").iterdir()) == []


def test_the_key_is_for_this_user_only(settings: Settings, services: LocalServices) -> None:
    services.ensure("iris", "uat")
    file = key_file(settings, "iris", "uat")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def kill(pid: int | None) -> None:
    """Kill a process that may be a child of this one, and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    process.wait(10)


def test_a_service_does_not_know_how_its_starter_signs_in(
    services: LocalServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLOPS_SERVERS_SIGN_IN", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "mlops:a-password")
    service = services.ensure("iris", "uat")
    assert service.pid
    processes = [psutil.Process(service.pid), *psutil.Process(service.pid).parents()[:1]]
    for process in processes:
        if process.pid != os.getpid():
            assert "mlops:a-password" not in process.environ().values()


def test_a_killed_service_is_started_again_at_its_address(services: LocalServices) -> None:
    first = services.ensure("iris", "prod")
    kill(first.pid)
    assert eventually(lambda: services.describe("iris", "prod").pid not in (None, first.pid), 20)
    again = services.ensure("iris", "prod")
    assert (again.url, again.supervisor, again.restarts) == (first.url, first.supervisor, 1)
    assert healthy(again)
    assert "the service ended (signal 9) and is started again in 0.2 s" in services.logs("iris", "prod")


def test_a_killed_supervisor_leaves_no_second_service(services: LocalServices) -> None:
    first = services.ensure("iris", "prod")
    kill(first.supervisor)
    assert services.describe("iris", "prod").status == "stopped"
    again = services.ensure("iris", "prod")
    assert (again.url, again.restarts) == (first.url, 0)
    assert again.supervisor != first.supervisor
    assert healthy(again)
    assert gone(first.pid)


def test_stop_ends_the_supervisor_and_the_service(services: LocalServices) -> None:
    service = services.ensure("iris", "prod")
    services.stop("iris", "prod")
    assert services.describe("iris", "prod").status == "stopped"
    assert gone(service.pid)
    assert gone(service.supervisor)


def test_the_supervisor_is_small(services: LocalServices) -> None:
    supervisor = psutil.Process(services.ensure("iris", "prod").supervisor)
    assert supervisor.memory_info().rss < 40 * 1024 * 1024


def test_another_store_and_another_limit_replace_the_service_and_an_empty_variable_does_not(
    settings: Settings, services: LocalServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = services.ensure("iris", "prod")
    changed = LocalServices(msgspec.structs.replace(settings, store=(tmp_path / "another").as_uri()))
    assert "does not answer for about 2 s" in changed.changes("iris", "prod")
    again = changed.ensure("iris", "prod")
    assert (again.url, again.pid != first.pid) == (first.url, True)
    services.ensure("iris", "prod")
    monkeypatch.setenv("MLOPS_SCORING_LIMIT_BATCH", "7")
    assert services.changes("iris", "prod")
    monkeypatch.setenv("MLOPS_SCORING_LIMIT_BATCH", "")
    monkeypatch.delenv("MLOPS_SCORING_LIMIT_BATCH")
    assert not services.changes("iris", "prod")


def test_spool_and_cache_are_folders_of_the_state(settings: Settings, services: LocalServices) -> None:
    services.ensure("iris", "prod")
    assert (settings.state / "spool" / "iris-prod").is_dir()
    (settings.state / "cache" / "iris-prod").mkdir(parents=True)
    services.remove("iris", "prod")
    assert (settings.state / "spool" / "iris-prod").is_dir()
    assert not (settings.state / "cache" / "iris-prod").exists()


def test_a_taken_port_is_named_with_its_owner_and_the_setting(
    services: LocalServices, listener: Callable[[int], None]
) -> None:
    service = services.ensure("iris", "uat")
    services.stop("iris", "uat")
    port = httpx.URL(service.url).port
    assert port
    listener(port)
    with pytest.raises(ServiceError, match=rf"port {port} .* process {os.getpid()} .*MLOPS_SCORING_PORT"):
        services.ensure("iris", "uat")


@pytest.mark.parametrize("alike", [True, False])
def test_a_recycled_pid_is_never_ended(settings: Settings, services: LocalServices, alike: bool) -> None:
    service = services.ensure("iris", "uat")
    services.stop("iris", "uat")
    file = settings.state / "services" / "iris-uat.json"
    record: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    program = ["-c", "input()", *(["mlops.scoring"] if alike else [])]
    with psutil.Popen([sys.executable, *program], stdin=-1) as stranger:
        created = record["created"] - 60 if alike else stranger.create_time()
        file.write_bytes(msgspec.json.encode(record | {"pid": stranger.pid, "created": created}))
        assert services.describe("iris", "uat").status == "stopped"
        services.remove("iris", "uat")
        assert stranger.is_running()
        stranger.communicate(b"\n")
    assert stranger.pid != service.pid


def test_a_service_that_ignores_the_signal_is_killed(
    settings: Settings, services: LocalServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.adapters.services.local.STOP_SECONDS", 0.5)
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); input()"
    with psutil.Popen([sys.executable, "-c", program, "mlops.scoring"], stdin=-1, stdout=-1) as deaf:
        assert deaf.stdout.readline() == b"deaf\n"
        record = {"model": "m", "environment": "uat", "port": 1, "pid": deaf.pid, "created": deaf.create_time()}
        file = settings.state / "services" / "m-uat.json"
        file.parent.mkdir(parents=True)
        file.write_bytes(msgspec.json.encode(record))
        services.remove("m", "uat")
        deaf.wait(5)  # What was killed may still await its parent.
        assert not deaf.is_running()


def test_logs_are_the_last_lines(settings: Settings, services: LocalServices) -> None:
    assert services.logs("iris", "uat") == ""
    file = settings.state / "logs" / "iris-uat.log"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"line {i}\n" for i in range(500)))
    assert services.logs("iris", "uat", 2) == "line 498\nline 499"


def test_ports_are_claimed_once_and_kept(tmp_path: Path, listener: Callable[[int], None]) -> None:
    first = free_port()
    listener(first)
    ports = Ports(tmp_path, "127.0.0.1", first)
    with ThreadPoolExecutor(8) as threads:
        claimed = list(threads.map(ports.claim, "abcdefgh"))
    assert len(set(claimed)) == 8
    assert min(claimed) > first
    assert [ports.claim(name) for name in "abcdefgh"] == claimed
    ports.release("a")
    assert ports.claim("i") == claimed[0] or claimed[0] != min(claimed)


def test_a_higher_first_port_moves_a_claim(tmp_path: Path) -> None:
    first = free_port()
    low = Ports(tmp_path, "127.0.0.1", first).claim("a")
    moved = Ports(tmp_path, "127.0.0.1", low + 1)
    assert moved.claim("a") > low
    assert len(list(tmp_path.iterdir())) == 1


def test_the_profile_chooses_them(tmp_path: Path) -> None:
    assert isinstance(open_services(Settings(home=tmp_path)), LocalServices)
    with pytest.raises(SettingsError, match="MLOPS_AZURE_SUBSCRIPTION"):
        open_services(Settings(home=tmp_path, profile="azure"))
