"""Which processes a local scoring service is: its supervisor and the service itself, never a recycled pid."""

import contextlib
import hashlib
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil

from mlops.adapters.services import ServiceError

PACKAGE = "mlops.scoring"
SUPERVISOR = "mlops.scoring.supervise"
POLL_SECONDS = 0.05


class Record(msgspec.Struct, frozen=True):
    """A service that should run: its address, and the supervisor it last ran under."""

    model: str
    environment: str
    port: int
    pid: int
    created: float
    """When the process was created, so that a recycled pid is never taken for it (Unix seconds)."""
    digest: str = ""
    """What it was started with: command, settings and code."""


class Child(msgspec.Struct, frozen=True):
    """What the supervisor reports of the service."""

    pid: int | None = None
    started: float = 0.0
    restarts: int = 0
    last_exit: int | None = None


def read_child(file: Path) -> Child:
    """Read a supervisor's report; an empty one when there is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Child)
    except FileNotFoundError:
        return Child()
    except msgspec.DecodeError as error:
        raise ServiceError(f"{file} is not the report of a supervisor ({error}); delete it") from None


def supervisor_of(record: Record) -> psutil.Process | None:
    """The supervisor of a record while it lives."""
    return _process(record.pid, record.created)


def service_of(child: Child) -> psutil.Process | None:
    """The service that a supervisor reported while it lives."""
    return _process(child.pid, child.started) if child.pid else None


def _process(pid: int, created: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > 2:  # An adjusted clock moves it a little.
            return None
        if process.status() != psutil.STATUS_ZOMBIE:
            return process if {PACKAGE, SUPERVISOR} & set(_command(process)) else None
        _reap(process)
    except psutil.ZombieProcess:  # It ended while it was looked at.
        _reap(process)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return None


def _reap(process: psutil.Process) -> None:
    """Let the kernel forget a child of this process that ended."""
    with contextlib.suppress(psutil.Error, ChildProcessError):
        process.wait(0)


def _command(process: psutil.Process) -> list[str]:
    """The command line of a process, which is empty in its first moment."""
    deadline = time.monotonic() + 1.0
    while not (command := process.cmdline()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return command


def end(record: Record, status_file: Path, seconds: float) -> bool:
    """End a supervisor and its service, by force after ``seconds``; whether both are gone.

    A supervisor that was killed leaves a service that ends by itself, or is ended here.
    """
    for sign in (signal.SIGTERM, signal.SIGKILL):
        # By force the supervisor goes first, so that it starts nothing more.
        living = [supervisor_of(record), service_of(read_child(status_file))]
        for process in living[:1] if sign == signal.SIGTERM and living[0] else living:
            if process:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(sign)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not supervisor_of(record) and not service_of(read_child(status_file)):
                return True
            time.sleep(POLL_SECONDS)
    return False


def digest(command: list[str], variables: Mapping[str, str], package: Path) -> str:
    """The digest of what a service is: its command, its variables and the code that it runs."""
    found = hashlib.sha256(msgspec.json.encode([command, sorted(variables.items())]))
    for part in (".", "scoring", "core", "adapters"):
        for file in sorted((package / part).glob("*.py")):
            found.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()
