"""Folders for state directories, and the processes that belong to one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def state_folder() -> Iterator[Path]:
    """A folder that lasts as long as the stack in it.

    Not pytest's: every pytest session of a user closes that one to others, and PostgreSQL, which
    refuses to run as root, is another user then.
    """
    with tempfile.TemporaryDirectory(prefix="mlops-e2e-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def owned_processes(state: Path) -> list[psutil.Process]:
    """Processes whose command line or environment names the state directory."""
    found = []
    for process in psutil.process_iter():
        try:
            command, environment = process.cmdline(), process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(state) in text for text in (*command, *environment.values())):
            found.append(process)
    return [process for process in found if process.pid != psutil.Process().pid]
