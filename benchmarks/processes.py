"""Servers as real processes: environments, starts, the check of the first answer, memory, ends."""

import hashlib
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.models import Subject
from benchmarks.servers import Place, Server, Start, environment

REQUIREMENTS = Path(__file__).with_name("requirements")
ROOT = Path(__file__).parents[1]
READY_SECONDS = 60
INSTALL_SECONDS = 900


class ServerError(Exception):
    """A server could not be installed or started, or answered wrongly."""


@dataclass(frozen=True)
class Running:
    """A started server that has answered rightly."""

    url: str
    body: Path
    authorization: str
    ready_seconds: float
    """From the start of the process to its first right answer."""
    process: psutil.Process

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process and its children, in MB; what they share counts for each."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(process.memory_info().rss for process in family) / 1e6


def install(name: str, folder: Path) -> Path:
    """Make a competitor's environment unless it is there; return the folder of its programs.

    Raises:
        ServerError: a package cannot be installed; the message ends with the installer's own words.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    if not requirements.is_file():
        return Path(sys.executable).parent
    place = folder / "environments" / name
    # An environment that was moved is made again: its programs name their interpreter by its full path.
    mark, digest = place / "installed", hashlib.sha256(f"{place}\n{requirements.read_text()}".encode()).hexdigest()
    if mark.is_file() and mark.read_text() == digest:
        return place / "bin"
    uv, python = str(Path(sys.executable).with_name("uv")), str(place / "bin/python")
    commands: list[list[str]] = [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", python, str(requirements)],
    ]
    for command in commands:
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise ServerError(f"not installed within {INSTALL_SECONDS} s") from None
        if ended.returncode:
            raise ServerError(f"not installed: {ended.stderr.strip()[-300:]}")
    mark.write_text(digest)
    return place / "bin"


@contextmanager
def running(name: str, server: Server, subject: Subject, folder: Path) -> Iterator[Running]:
    """Start a server and end it and its children afterwards.

    Raises:
        ServerError: it ended, did not answer within ``READY_SECONDS`` or answered another class.
    """
    own = folder / "run" / f"{subject.name}-{name}-{secrets.token_hex(4)}"
    own.mkdir(parents=True)
    place = Place(subject, own, free_ports(), install(name, folder), secrets.token_urlsafe(16))
    start = server.start(place)
    body, log = own / "body.json", own / "log"
    body.write_text(json.dumps(start.body))
    began = time.perf_counter()
    process = _spawn(start, place, log)
    try:
        url = f"http://127.0.0.1:{place.ports[0]}{start.path}"
        _wait(process, start, url, f"Bearer {place.key}", subject.answer, log)
        seconds = time.perf_counter() - began
        yield Running(url, body, f"Bearer {place.key}", seconds, psutil.Process(process.pid))
    finally:
        _end(process)


def _spawn(start: Start, place: Place, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        try:
            return subprocess.Popen(
                start.command, cwd=ROOT, env=environment(start, place), stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise ServerError(f"cannot be started: {error}") from None


def free_ports() -> tuple[int, int, int]:
    """Three ports that nobody uses now."""
    with ExitStack() as held:
        trials = [held.enter_context(socket.socket()) for _ in range(3)]
        for trial in trials:
            trial.bind(("127.0.0.1", 0))
        first, second, third = (int(trial.getsockname()[1]) for trial in trials)
    return first, second, third


def _wait(
    process: "subprocess.Popen[bytes]", start: Start, url: str, authorization: str, expected: str, log: Path
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    status = "no answer"
    with httpx.Client(trust_env=False, timeout=5, headers={"Authorization": authorization}) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(httpx.TransportError):
                answer = client.post(url, json=start.body)
                status = f"status {answer.status_code}"
                if answer.status_code == 200:
                    found = str(start.answer(answer.json()))
                    if found != expected:
                        raise ServerError(f"answered class {found!r}, not {expected!r}")
                    return
            time.sleep(0.02)
    ended = f"ended with {process.returncode}" if process.poll() is not None else f"not ready in {READY_SECONDS} s"
    words = " ".join(log.read_text("utf-8", "replace").split())[-300:]
    raise ServerError(f"{ended}, {status}: {words}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process, then what is left of its children, which some servers leave behind."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(children, timeout=3)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
