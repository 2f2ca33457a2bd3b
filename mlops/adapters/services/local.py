"""Scoring services as processes of this machine, on loopback, with their records in the state directory."""

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from mlops.adapters.services import Service, ServiceError, key_file
from mlops.adapters.services.ports import Ports, is_taken, owner
from mlops.settings import Settings

PACKAGE = "mlops.scoring"
START_SECONDS = 20.0
STOP_SECONDS = 15.0
"""Longer than the service takes to write its log when the store is slow."""
POLL_SECONDS = 0.05
TAIL_BYTES = 256 * 1024


class Record(msgspec.Struct, frozen=True):
    """A service that should run: its address, and the process it last ran as."""

    model: str
    environment: str
    port: int
    pid: int
    created: float
    """When the process was created, so that a recycled pid is never taken for it (Unix seconds)."""


class LocalServices:
    """One detached process per service; a file lock per service lets one caller at a time change it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.state / "services"
        self._ports = Ports(self._folder / "ports", settings.host, settings.scoring_port)

    def ensure(self, model: str, environment: str) -> Service:
        with self._locked(model, environment):
            record = self._record(model, environment)
            if record is None or _process(record) is None:
                _make_key(key_file(self._settings, model, environment))
                record = self._start(model, environment)
            self._wait(record)
            return self._service(record)

    def describe(self, model: str, environment: str) -> Service:
        if record := self._record(model, environment):
            return self._service(record)
        return Service(model=model, environment=environment, url="", status="absent")

    def logs(self, model: str, environment: str, lines: int = 200) -> str:
        try:
            with self._log_file(model, environment).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def remove(self, model: str, environment: str) -> None:
        with self._locked(model, environment):
            self._end(model, environment)
            self._record_file(model, environment).unlink(missing_ok=True)
            self._ports.release(_name(model, environment))

    def stop(self, model: str, environment: str) -> None:
        with self._locked(model, environment):
            self._end(model, environment)

    def recorded(self) -> list[Service]:
        records = [_read(file) for file in sorted(self._folder.glob("*.json"))]
        return [self._service(record) for record in records if record]

    def _start(self, model: str, environment: str) -> Record:
        """Start the process and record it at once, so that a crash of this one loses nothing."""
        port = self._ports.claim(_name(model, environment))
        if is_taken(self._settings.host, port):
            raise ServiceError(
                f"port {port} of the scoring service {_name(model, environment)} is used by {owner(port)}; end it, or "
                f"move the services with scoring_port (MLOPS_SCORING_PORT), now {self._settings.scoring_port}"
            )
        log = self._log_file(model, environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", PACKAGE],
                cwd=Path(__file__).parents[3],  # Where the package is, installed or not.
                env=os.environ | self._settings.environment() | self._variables(model, environment, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        created = psutil.Process(process.pid).create_time()
        process.returncode = 0  # It outlives this object, which would otherwise warn of that.
        record = Record(model, environment, port, process.pid, created)
        file = self._record_file(model, environment)
        draft = file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(record))
        draft.replace(file)
        return record

    def _variables(self, model: str, environment: str, port: int) -> dict[str, str]:
        return {
            "MLOPS_SCORING_MODEL": model,
            "MLOPS_SCORING_ENVIRONMENT": environment,
            "MLOPS_SCORING_BIND_PORT": str(port),
            "MLOPS_SCORING_KEYS_FILE": str(key_file(self._settings, model, environment).resolve()),
        }

    def _wait(self, record: Record) -> None:
        """Wait until this very process answers.

        Raises:
            ServiceError: it died (the message ends with its log), or does not answer in time and was ended.
        """
        name, deadline = _name(record.model, record.environment), time.monotonic() + START_SECONDS
        while not _answers(self._settings.host, record):
            tail = f"the end of {self._log_file(record.model, record.environment)}:\n"
            if not _process(record):
                tail += self.logs(record.model, record.environment, 20)
                raise ServiceError(f"the scoring service {name} ended at its start; {tail}")
            if time.monotonic() > deadline:
                self._end(record.model, record.environment)
                tail += self.logs(record.model, record.environment, 20)
                raise ServiceError(f"the scoring service {name} did not answer in {START_SECONDS:g} s; {tail}")
            time.sleep(POLL_SECONDS)

    def _end(self, model: str, environment: str) -> None:
        record = self._record(model, environment)
        if record is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if (process := _process(record)) is None:
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(sign)
            if _ended(record, STOP_SECONDS):
                return
        raise ServiceError(f"cannot end the scoring service {_name(model, environment)} (process {record.pid})")

    def _service(self, record: Record) -> Service:
        process = _process(record)
        return Service(
            model=record.model,
            environment=record.environment,
            url=f"http://{_bracketed(self._settings.host)}:{record.port}",
            status="running" if process else "stopped",
            pid=process.pid if process else None,
        )

    def _record(self, model: str, environment: str) -> Record | None:
        return _read(self._record_file(model, environment))

    def _record_file(self, model: str, environment: str) -> Path:
        return self._folder / f"{_name(model, environment)}.json"

    def _log_file(self, model: str, environment: str) -> Path:
        return self._settings.state / "logs" / f"{_name(model, environment)}.log"

    @contextmanager
    def _locked(self, model: str, environment: str) -> Iterator[None]:
        # The kernel drops the lock with the process, so a kill leaves nothing behind.
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{_name(model, environment)}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _name(model: str, environment: str) -> str:
    return f"{model}-{environment}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read(file: Path) -> Record | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ServiceError(f"{file} is not the record of a scoring service ({error}); delete it") from None


def _ended(record: Record, seconds: float) -> bool:
    """Wait until a process has ended; one that its parent has not reaped has."""
    deadline = time.monotonic() + seconds
    while alive := _process(record) is not None:
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return not alive


def _command(process: psutil.Process) -> list[str]:
    """The command line of a process, which is empty in its first moment."""
    deadline = time.monotonic() + 1.0
    while not (command := process.cmdline()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return command


def _process(record: Record) -> psutil.Process | None:
    """The process of a record while it lives."""
    try:
        process = psutil.Process(record.pid)
        if abs(process.create_time() - record.created) > 2:  # An adjusted clock moves it a little.
            return None
        if process.status() == psutil.STATUS_ZOMBIE:
            process.wait(0)  # A child of this process that ended: let the kernel forget it.
            return None
        return process if PACKAGE in _command(process) else None
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.TimeoutExpired):
        return None


def _answers(host: str, record: Record) -> bool:
    connection = http.client.HTTPConnection(host, record.port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return bool(json.loads(connection.getresponse().read())["pid"] == record.pid)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()


def _make_key(file: Path) -> None:
    """Make a key file that only this user may read, unless there is one."""
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(secrets.token_urlsafe(32) + "\n")
    draft.replace(file)
