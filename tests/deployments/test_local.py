"""The parts of the embedded stack on small processes, without servers."""

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from deployments import local
from deployments.stack import ports
from deployments.stack.components import client_environment, servers, workers
from deployments.stack.processes import Component, ComponentError, Processes, until
from mlops.settings import Settings


def ignore(_: object) -> None:
    """Take a line of progress, or a component that is ready."""


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
