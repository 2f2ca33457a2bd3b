"""Bounded waits for what another thread or process does."""

import subprocess
import time
from collections.abc import Callable

import httpx
import psutil


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    """Wait until a condition is truthy; return whether it became so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int | None) -> bool:
    """Whether a process has ended (not: was never there); where nobody waits for orphans, it stays as a zombie."""
    try:
        return pid is not None and psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def becomes_ready(client: httpx.Client, process: subprocess.Popen[bytes], seconds: float = 30.0) -> bool:
    """Wait until a scoring service answers ``/readyz`` with 200; false when it ended or the time is over."""

    def answers() -> bool:
        try:
            return process.poll() is not None or client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    return eventually(answers, seconds) and process.poll() is None
