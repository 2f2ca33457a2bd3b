"""Keeps one scoring service alive: ``python -m mlops.scoring.supervise STATUS_FILE``, standard library only.

Starts ``python -m mlops.scoring``, starts it again whenever it ends, with growing delay, and passes
SIGTERM on. The service ends with its supervisor, however that ends (on Linux; elsewhere whoever starts
the next one ends the one left, which the status file names).
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

FIRST_DELAY = 0.2
MAX_DELAY = 10.0
STEADY_SECONDS = 60.0
"""A service that lived as long as this is started again without delay growing."""
SERVICE = "mlops.scoring"
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """One service process after the other, until told to stop."""

    def __init__(self, status_file: Path) -> None:
        self._status_file = status_file
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    def stop(self, *_: object) -> None:
        """Pass a signal on and start nothing more."""
        self._stop.set()
        if self._child:
            self._child.terminate()

    def run(self) -> int:
        """Supervise; return the exit code of the last process once told to stop."""
        delay, code, tied = FIRST_DELAY, 0, _tied_to_parent()
        while not self._stop.is_set():
            started = time.monotonic()
            self._child = subprocess.Popen([sys.executable, "-m", SERVICE], preexec_fn=tied)
            self._report(self._child.pid, None if self._restarts == 0 else code)
            if self._stop.is_set():  # The signal came before there was a process to pass it on to.
                self._child.terminate()
            code = self._child.wait()
            if self._stop.is_set():
                break
            if time.monotonic() - started > STEADY_SECONDS:
                delay = FIRST_DELAY
            self._restarts += 1
            _log("error", f"the service ended ({_ending(code)}) and is started again in {delay:g} s")
            self._report(None, code)
            self._stop.wait(delay)
            delay = min(2 * delay, MAX_DELAY)
        self._report(None, code)
        return code

    def _report(self, pid: int | None, code: int | None) -> None:
        """Write what is true now, for who describes the service; replaced whole."""
        status = {"pid": pid, "started": time.time(), "restarts": self._restarts, "last_exit": code}
        draft = self._status_file.with_suffix(".draft")
        with suppress(OSError):  # A full disk must not end what the service could do without.
            draft.write_text(json.dumps(status), "utf-8")
            draft.replace(self._status_file)


def _tied_to_parent() -> Callable[[], None] | None:
    """What a new process does first, so that it is told to stop when its parent is killed."""
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # Killed before the tie.
            os._exit(1)

    return tie


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _log(level: str, message: str) -> None:
    line = {
        "time": datetime.now(UTC).isoformat(),
        "level": level,
        "message": message,
        "model": os.environ.get("MLOPS_SCORING_MODEL", ""),
        "environment": os.environ.get("MLOPS_SCORING_ENVIRONMENT", ""),
        "version": None,
    }
    with suppress(OSError):  # Likewise.
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Supervise until SIGTERM or SIGINT."""
    supervisor = Supervisor(Path(sys.argv[1]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.stop)
    sys.exit(supervisor.run())


if __name__ == "__main__":
    main()
