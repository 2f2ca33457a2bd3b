"""Scoring services as processes of this machine, on loopback, with their records in the state directory."""

import fcntl
import http.client
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil

from mlops.adapters.services import Service, ServiceError, key_file
from mlops.adapters.services.keys import ensure_key
from mlops.adapters.services.ports import Ports, is_taken, owner
from mlops.adapters.services.processes import (
    POLL_SECONDS,
    SUPERVISOR,
    Record,
    digest,
    end,
    read_child,
    service_of,
    supervisor_of,
)
from mlops.adapters.sign_in import VARIABLE as SERVERS_SIGN_IN
from mlops.settings import PREFIX, Settings

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).parents[2]
"""The code that a service runs, where it is, installed or not."""
OWN = "MLOPS_SCORING_"
"""What the variables of a scoring service begin with."""
START_SECONDS = 20.0
STOP_SECONDS = 15.0
"""Longer than the service takes to write its log when the store is slow."""
TAIL_BYTES = 256 * 1024


class LocalServices:
    """One supervised, detached process per service; a file lock per service lets one caller at a time change it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.state / "services"
        self._ports = Ports(self._folder / "ports", settings.host, settings.scoring_port)

    def ensure(self, model: str, environment: str) -> Service:
        with self._locked(model, environment):
            if change := self.changes(model, environment):
                logger.warning("%s: %s", _name(model, environment), change)
                self._end(model, environment)
            record = self._record(model, environment)
            started = record is None or supervisor_of(record) is None
            if record is None or started:
                self._end(model, environment)  # A service whose supervisor was killed.
                ensure_key(self._settings, model, environment)
                record = self._start(model, environment)
            self._wait(record, started)
            return self._service(record)

    def changes(self, model: str, environment: str) -> str:
        record = self._record(model, environment)
        if record is None or supervisor_of(record) is None or record.digest == self._digest(model, environment):
            return ""
        return "its command, settings or code changed: it is replaced and does not answer for about 2 s"

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
            for file in (self._record_file(model, environment), self._status_file(model, environment)):
                file.unlink(missing_ok=True)
            shutil.rmtree(self._cache(model, environment), ignore_errors=True)  # The spool stays: its rows are owed.
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
        log, status = self._log_file(model, environment), self._status_file(model, environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        status.unlink(missing_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*self._command(), str(status)],
                cwd=PACKAGE.parent,
                env=_inherited() | self._settings.environment() | self._variables(model, environment, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        created = psutil.Process(process.pid).create_time()
        process.returncode = 0  # It outlives this object, which would otherwise warn of that.
        record = Record(model, environment, port, process.pid, created, self._digest(model, environment))
        file = self._record_file(model, environment)
        draft = file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(record))
        draft.replace(file)
        return record

    def _command(self) -> list[str]:
        return [sys.executable, "-m", SUPERVISOR]

    def _variables(self, model: str, environment: str, port: int) -> dict[str, str]:
        return {
            f"{OWN}MODEL": model,
            f"{OWN}ENVIRONMENT": environment,
            f"{OWN}BIND_PORT": str(port),
            f"{OWN}KEYS_FILE": str(key_file(self._settings, model, environment).resolve()),
            f"{OWN}SPOOL": str(self._settings.state / "spool" / _name(model, environment)),
            f"{OWN}CACHE": str(self._cache(model, environment)),
        }

    def _digest(self, model: str, environment: str) -> str:
        """Tell services apart by what they do; the port is kept, and other settings are not the service's."""
        fields = {f"{PREFIX}{name.upper()}" for name in Settings.__struct_fields__}
        told = {name: value for name, value in os.environ.items() if name.startswith(OWN) and name not in fields}
        told |= self._variables(model, environment, 0)
        told |= {"host": self._settings.host, "store": self._settings.store_uri}
        return digest(self._command(), told, PACKAGE)

    def _wait(self, record: Record, started: bool) -> None:
        """Wait until the service answers under this very supervisor.

        Raises:
            ServiceError: it died at its start (the message ends with its log), or does not answer in time. One
                that was started by this call is ended; another is still supervised.
        """
        model, environment = record.model, record.environment
        name, deadline = _name(model, environment), time.monotonic() + START_SECONDS
        while not _answers(self._settings.host, record, read_child(self._status_file(model, environment)).pid):
            child = read_child(self._status_file(model, environment))
            died = supervisor_of(record) is None or (started and child.last_exit is not None)
            if died or time.monotonic() > deadline:
                if started:
                    self._end(model, environment)
                how = "ended at its start" if died else f"did not answer in {START_SECONDS:g} s"
                tail = f"the end of {self._log_file(model, environment)}:\n{self.logs(model, environment, 20)}"
                raise ServiceError(f"the scoring service {name} {how}; {tail}")
            time.sleep(POLL_SECONDS)

    def _end(self, model: str, environment: str) -> None:
        record = self._record(model, environment)
        if record and not end(record, self._status_file(model, environment), STOP_SECONDS):
            raise ServiceError(f"cannot end the scoring service {_name(model, environment)} (process {record.pid})")

    def _service(self, record: Record) -> Service:
        child = read_child(self._status_file(record.model, record.environment))
        supervisor, process = supervisor_of(record), service_of(child)
        return Service(
            model=record.model,
            environment=record.environment,
            url=f"http://{_bracketed(self._settings.host)}:{record.port}",
            status="running" if supervisor else "stopped",
            pid=process.pid if process else None,
            supervisor=supervisor.pid if supervisor else None,
            restarts=child.restarts if supervisor else 0,
        )

    def _record(self, model: str, environment: str) -> Record | None:
        return _read(self._record_file(model, environment))

    def _record_file(self, model: str, environment: str) -> Path:
        return self._folder / f"{_name(model, environment)}.json"

    def _status_file(self, model: str, environment: str) -> Path:
        return self._folder / f"{_name(model, environment)}.status"

    def _cache(self, model: str, environment: str) -> Path:
        return self._settings.state / "cache" / _name(model, environment)

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


def _answers(host: str, record: Record, pid: int | None) -> bool:
    if pid is None:
        return False
    connection = http.client.HTTPConnection(host, record.port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return bool(json.loads(connection.getresponse().read())["pid"] == pid)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
    finally:
        connection.close()


def _inherited() -> dict[str, str]:
    """What a service may know of whoever starts it: not how that signs in to Prefect and MLflow."""
    foreign = ("PREFECT_", "MLFLOW_", SERVERS_SIGN_IN)
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
