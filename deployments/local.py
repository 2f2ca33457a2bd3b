"""The embedded stack: ``python -m deployments.local up|down|status``."""

import argparse
import fcntl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from deployments.pools import PoolError, ensure_pools
from deployments.stack import ports
from deployments.stack.components import servers, workers
from deployments.stack.processes import Component, ComponentError, Processes, Record, until
from mlops import settings as settings_module
from mlops.adapters.azure_vault import VaultError
from mlops.adapters.services import Service, ServiceError, open_services
from mlops.adapters.sign_in import FILE, SignInError, servers_sign_in
from mlops.settings import Settings, SettingsError

# A busy server may be slow; one that is silent for longer is ended and started again.
PATIENCE_SECONDS = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NOT_RUNNING = 3
"""Exit code of ``status`` when a component does not run, as service managers have it."""

Say = Callable[[str], None]
T = TypeVar("T")


class ComponentStatus(msgspec.Struct, frozen=True):
    """A component as found; ``state`` is ``running``, ``unresponsive`` or ``stopped``."""

    name: str
    state: str
    address: str
    pid: int | None = None


def up(settings: Settings) -> None:
    """Start what does not run or answer, restart what a changed setting affects, leave the rest alone.

    Raises:
        ComponentError, ServiceError, PoolError: a part could not be started; what runs by then
            stays, and the next call goes on from there.
    """
    say = _timed()
    processes = Processes(settings.state)
    wanted = servers(settings)
    if settings.host not in LOOPBACK and servers_sign_in(settings) is None:
        file = settings.secrets / FILE
        say(f"host {settings.host}: the servers ask nobody who reaches it for a password; write one to {file}")
    with _alone(settings, say):
        _stop(processes, _dropped(settings, processes), say)
        pending = _restart(settings, processes, wanted, say)
        import prefect.client.orchestration  # noqa: F401 - takes seconds, which pass while the servers start

        processes.await_ready([server for server in pending if server.name == "prefect"], _ready(say))
        if changed := ensure_pools(settings):
            say(f"work pools made or changed: {', '.join(changed)}")
        pending = [server for server in pending if server.name != "prefect"]
        pending += _restart(settings, processes, workers(settings), say)
        _start_services(settings, say)
        processes.await_ready(pending, _ready(say))
    say(f"up: Prefect {settings.prefect_ui} - MLflow {settings.mlflow_uri} - reports {settings.reports_uri}")


def down(settings: Settings) -> None:
    """End everything that ``up`` started: workers with their flow runs, scoring services, servers, PostgreSQL.

    Raises:
        ComponentError, ServiceError: a process could not be ended; everything else is.
    """
    say = _timed()
    if not settings.state.exists():
        return say("down: nothing was ever started")
    processes = Processes(settings.state)
    with _alone(settings, say):
        names = [record.name for record in processes.records()]
        # Workers first: their flow runs report their end to the Prefect server.
        of_workers = [name for name in names if name.startswith("worker-")]
        try:
            _stop(processes, of_workers, say)
            _stop_services(settings, say)
        finally:
            _stop(processes, [name for name in names if name not in of_workers], say)
    say("down: nothing runs")


def status(settings: Settings) -> list[ComponentStatus]:
    """Say of each component, and each scoring service that should run, whether it runs and answers."""
    processes = Processes(settings.state)
    found = [_status(processes, component) for component in [*servers(settings), *workers(settings)]]
    for service in open_services(settings).recorded():
        state = "running" if service.status == "running" else "stopped"
        found.append(ComponentStatus(_service_name(service), state, service.url, service.pid))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployments.local", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args(arguments).command
    try:
        settings = settings_module.load()
        if command == "status":
            return _print_status(status(settings))
        {"up": up, "down": down}[command](settings)
    except (SettingsError, ComponentError, ServiceError, PoolError, SignInError, VaultError) as error:
        sys.stderr.write(f"{command}: {error}\n")
        return 1
    return 0


def _restart(settings: Settings, processes: Processes, wanted: list[Component], say: Say) -> list[Component]:
    """Start those that do not run as wanted; return those that do not answer yet."""
    pending: list[Component] = []
    stale: list[Component] = []
    for component in wanted:
        record = processes.running(component.name)
        unchanged = record and record.digest == component.digest
        if not record or not unchanged or _names(stale) & set(component.needs):
            stale.append(component)
        elif component.ready(record):
            say(f"{component.name}: runs")
        elif time.time() < record.started + component.start_seconds:
            pending.append(component)  # An earlier up was interrupted while this one started.
        elif not _answers(component, record):
            stale.append(component)
    _stop(processes, _names(stale), say)
    # Before the first start: a port that is taken shall not leave half a stack.
    for component in stale:
        if component.port:
            ports.ensure_free(settings.host, component.port, component.setting)
    return pending + _start(processes, stale, say)


def _start(processes: Processes, components: list[Component], say: Say) -> list[Component]:
    """Start components, each after those that it needs answer; return those not waited for."""
    pending: list[Component] = []
    for component in components:
        needed = [other for other in pending if other.name in component.needs]
        processes.await_ready(needed, _ready(say))
        pending = [other for other in pending if other not in needed]
        say(f"{component.name}: starts")
        pending.append(component)
        processes.start(component)
    return pending


def _stop(processes: Processes, names: Iterable[str], say: Say) -> None:
    """End components at the same time, but PostgreSQL after its clients."""
    names = list(names)

    def stop(name: str) -> None:
        if processes.stop(name):
            say(f"{name}: ended")

    _each(stop, [name for name in names if name != "postgres"])
    _each(stop, [name for name in names if name == "postgres"])


def _dropped(settings: Settings, processes: Processes) -> list[str]:
    """What runs, but not by these settings: a server that they place elsewhere now."""
    wanted = {component.name for component in [*servers(settings), *workers(settings)]}
    return [record.name for record in processes.records() if record.name not in wanted]


def _start_services(settings: Settings, say: Say) -> None:
    services = open_services(settings)

    def start(service: Service) -> None:
        found = services.ensure(service.model, service.environment)
        say(f"{_service_name(service)}: {'runs' if found.pid == service.pid else 'ready'} ({found.url})")

    _each(start, services.recorded())


def _stop_services(settings: Settings, say: Say) -> None:
    services = open_services(settings)

    def stop(service: Service) -> None:
        services.stop(service.model, service.environment)
        say(f"{_service_name(service)}: ended")

    _each(stop, [service for service in services.recorded() if service.status == "running"])


def _status(processes: Processes, component: Component) -> ComponentStatus:
    record = processes.running(component.name)
    if record is None:
        return ComponentStatus(component.name, "stopped", component.address)
    state = "running" if component.ready(record) else "unresponsive"
    return ComponentStatus(component.name, state, component.address, record.pid)


def _print_status(found: list[ComponentStatus]) -> int:
    rows = [("component", "state", "address", "pid")]
    rows += [(item.name, item.state, item.address, str(item.pid or "-")) for item in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        _write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if all(item.state == "running" for item in found) else NOT_RUNNING


def _answers(component: Component, record: Record) -> bool:
    return until(lambda: component.ready(record), PATIENCE_SECONDS)


def _ready(say: Say) -> Callable[[Component], None]:
    return lambda component: say(f"{component.name}: ready ({component.address})")


def _names(components: Iterable[Component]) -> set[str]:
    return {component.name for component in components}


def _service_name(service: Service) -> str:
    return f"scoring {service.model} {service.environment}"


def _each(act: Callable[[T], None], items: Iterable[T]) -> None:
    """Act on all items at the same time; the first error is raised when all are through."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(act, items))


@contextmanager
def _alone(settings: Settings, say: Say) -> Iterator[None]:
    """Let one ``up`` or ``down`` work at a time; the kernel drops the lock with the process."""
    (settings.state / "run").mkdir(parents=True, exist_ok=True)
    with (settings.state / "run" / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another up or down is at work; waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _timed() -> Say:
    begun = time.monotonic()
    return lambda line: _write(f"{time.monotonic() - begun:5.1f} s  {line}")


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
