"""Ports of local scoring services: each service claims one and keeps it."""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlops.adapters.services import ServiceError


class Ports:
    """Claims as files: the one named ``8100`` holds the name of the service that owns port 8100."""

    def __init__(self, folder: Path, host: str, first: int) -> None:
        self._folder = folder
        self._host = host
        self._first = first

    def claim(self, name: str) -> int:
        """The port of a service: the one it has, else the lowest that nobody claims or uses.

        A claim below the first port of the settings is given up, so that changing them moves services.

        Raises:
            ServiceError: no port is left.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        mine = [port for port, owner in self._claims() if owner == name]
        if kept := [port for port in mine if port >= self._first]:
            return min(kept)
        self.release(name)
        for port in range(self._first, 65536):
            if not is_taken(self._host, port) and self._take(port, name):
                return port
        raise ServiceError(f"no port is free from {self._first} on; set scoring_port (MLOPS_SCORING_PORT) lower")

    def release(self, name: str) -> None:
        """Give up a service's claims."""
        for port, owner in self._claims():
            if owner == name:
                (self._folder / str(port)).unlink(missing_ok=True)

    def _claims(self) -> Iterator[tuple[int, str]]:
        if not self._folder.is_dir():
            return
        for file in list(self._folder.iterdir()):
            if file.name.isdigit():
                with suppress(FileNotFoundError):  # Released this moment.
                    yield int(file.name), file.read_text("utf-8")

    def _take(self, port: int, name: str) -> bool:
        # Linking a finished file claims the port and names its owner in one step.
        draft = self._folder / f".{name}-{secrets.token_hex(4)}"
        draft.write_text(name, "utf-8")
        try:
            os.link(draft, self._folder / str(port))
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        return True


def is_taken(host: str, port: int) -> bool:
    """Whether a process listens on a port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # A port in TIME_WAIT is free.
        try:
            trial.bind((host, port))
        except OSError:
            return True
    return False


def owner(port: int) -> str:
    """Name the process that listens on a port, as far as this user may know."""
    import psutil

    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and connection.laddr and connection.laddr.port == port:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "a process of unknown name"
