"""The rehearsal's two servers as processes that outlive their starter: recorded, found again, ended by their own id."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

STOP_SECONDS = 30.0


class RehearsalError(Exception):
    """The rehearsal cannot be set up; the message says why and what to do."""


class Record(msgspec.Struct, frozen=True):
    """A started process; the time of its creation tells a recycled id."""

    pid: int
    created: float


def ensure(
    folder: Path, name: str, command: list[str], ready: Callable[[], bool], seconds: float, env: dict[str, str] | None
) -> bool:
    """Start a server unless it runs, and wait until it answers; return whether it was started.

    Raises:
        RehearsalError: it ended or did not answer in time; the message ends with its log.
    """
    if running(folder, name):
        return False
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    child.returncode = 0  # It outlives this object, which would otherwise warn of that.
    record = Record(child.pid, psutil.Process(child.pid).create_time())
    (folder / f"{name}.json").write_bytes(msgspec.json.encode(record))
    deadline = time.monotonic() + seconds
    while not ready():
        if not running(folder, name) or time.monotonic() > deadline:
            raise RehearsalError(f"{name} did not start; its log:\n{log.read_text('utf-8', 'replace')[-3000:]}")
        time.sleep(0.1)
    return True


def running(folder: Path, name: str) -> psutil.Process | None:
    """The recorded process, when it still runs."""
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess, msgspec.MsgspecError):
        record = msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=Record)
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.created) < 1.5 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def stop(folder: Path, name: str) -> None:
    """End a server; one that does not end in time is killed."""
    if process := running(folder, name):
        process.terminate()
        _, alive = psutil.wait_procs([process], STOP_SECONDS)
        for each in alive:
            each.kill()
    (folder / f"{name}.json").unlink(missing_ok=True)
