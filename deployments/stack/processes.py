"""Processes that outlive their starter: recorded, recognised again, ended by their own id."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from mlops.settings import Settings

# Another Prefect, MLflow or PostgreSQL that the caller's shell knows must not leak into ours.
FOREIGN = ("PREFECT_", "MLFLOW_", "PG")
# The settings are handed over one by one; those of the shell may be others.
SETTINGS = {f"MLOPS_{name.upper()}" for name in Settings.__struct_fields__}
# A process's creation time is the boot time plus ticks, and the boot time is known to the second.
CLOCK_SLACK = 1.5


class ComponentError(RuntimeError):
    """A component of the stack could not be started or ended; the message names it and its log."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a started process, in ``run/<name>.json``."""

    name: str
    pid: int
    created: float
    """The process's creation time (Unix seconds): a recycled pid has another."""
    started: float
    """When it was started by our clock (Unix seconds)."""
    digest: str
    """Digest of its command and environment; another one asks for a restart."""
    stop_signal: int
    stop_seconds: float
    children_first: bool = False


@dataclass(frozen=True, kw_only=True)
class Component:
    """One process of the stack: how to start it, and how to tell that it answers."""

    name: str
    command: tuple[str, ...]
    cwd: Path
    ready: Callable[[Record], bool]
    address: str
    env: dict[str, str]
    """An empty value takes a variable of the caller away."""
    keep: tuple[str, ...] = ()
    """Prefixes of the caller's variables that it may see although they are foreign."""
    port: int | None = None
    setting: str = ""
    """The setting that chooses the port."""
    needs: tuple[str, ...] = ()
    """Components whose restart requires its own."""
    prepare: Callable[[], None] | None = None
    """Called before each start."""
    user: str | None = None
    start_seconds: float = 180
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15
    children_first: bool = False
    """Whether its children are ended before it is, since they still have something to report."""

    @property
    def digest(self) -> str:
        """SHA-256 of what the process is given."""
        given = [self.command, str(self.cwd), self.env, self.user]
        return hashlib.sha256(msgspec.json.encode(given, order="deterministic")).hexdigest()


def let_children_heed_interrupts() -> None:
    """Let processes that are started from now on end by SIGINT, by which Prefect's workers end themselves.

    A shell lets what it runs in the background ignore SIGINT (``make up &`` in a script, ``nohup``), and whoever
    ignores it has children that do. This process goes on ignoring it, but by a handler, which children do not inherit.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


class Processes:
    """The recorded processes of one state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.run = state / "run"
        self.logs = state / "logs"

    def record(self, name: str) -> Record | None:
        """What was recorded of a component, whether or not it still runs."""
        try:
            return msgspec.json.decode((self.run / f"{name}.json").read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def records(self) -> list[Record]:
        """All records, by name."""
        names = sorted(file.stem for file in self.run.glob("*.json"))
        return [record for name in names if (record := self.record(name))]

    def running(self, name: str) -> Record | None:
        """The record of a component whose process lives and is not suspended."""
        record = self.record(name)
        leader = _leader(record) if record else None
        return record if leader and leader.status() != psutil.STATUS_STOPPED else None

    def start(self, component: Component) -> Record:
        """Start a component, detached, its output in ``logs/<name>.log``, and record it."""
        self.run.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        if component.prepare:
            component.prepare()
        log = self.log(component.name)
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        started = time.time()
        if threading.current_thread() is threading.main_thread():
            let_children_heed_interrupts()
        with log.open("wb") as output:
            child = subprocess.Popen(
                component.command,
                cwd=component.cwd,
                env=_environment(component),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=component.user,
                group=component.user,
                extra_groups=[] if component.user else None,
            )
        child.returncode = 0  # It outlives this object, which would otherwise warn of that.
        record = Record(
            name=component.name,
            pid=child.pid,
            created=psutil.Process(child.pid).create_time(),
            started=started,
            digest=component.digest,
            stop_signal=component.stop_signal,
            stop_seconds=component.stop_seconds,
            children_first=component.children_first,
        )
        temporary = self.run / f".{component.name}"
        temporary.write_bytes(msgspec.json.encode(record))
        temporary.replace(self.run / f"{component.name}.json")
        return record

    def stop(self, name: str) -> bool:
        """End a component and all that it started, and drop its record; true when something lived.

        Raises:
            ComponentError: a process is still there after it was killed.
        """
        record = self.record(name)
        if record is None:
            (self.run / f"{name}.json").unlink(missing_ok=True)  # Half a record names nothing.
            return False
        lived = bool(self.members(record))
        if leader := _leader(record):
            if record.children_first:
                _signal([leader], signal.SIGSTOP)  # It shall start no new ones meanwhile.
                _signal(self.members(record)[1:], signal.SIGTERM)
                until(lambda: not self.members(record)[1:], record.stop_seconds)
            _signal([leader], record.stop_signal)
            _signal([leader], signal.SIGCONT)
            until(lambda: not _leader(record), record.stop_seconds)
        for sign, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
            if rest := self.members(record):
                _signal(rest, sign)
                until(lambda: not self.members(record), seconds)
        if rest := self.members(record):
            raise ComponentError(f"{name}: process {', '.join(str(p.pid) for p in rest)} survives a kill")
        (self.run / f"{name}.json").unlink(missing_ok=True)
        return lived

    def members(self, record: Record) -> list[psutil.Process]:
        """The living processes of the session that the recorded process leads or led.

        A server's children outlive it when it is killed, and keep its port. They stay in its
        session, whose id the kernel gives to no other process as long as one of them lives.
        What a flow run starts in a session of its own (a scoring service) is not among them.
        """
        leader = _leader(record)
        found = [leader] if leader else []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, PermissionError, psutil.Error):
                if pid != record.pid and os.getsid(pid) == record.pid:
                    process = psutil.Process(pid)
                    if _alive(process) and (leader or self._marked(process)):
                        found.append(process)
        return found

    def log(self, name: str) -> Path:
        """Where a component's output goes."""
        return self.logs / f"{name}.log"

    def tail(self, name: str, lines: int = 20) -> str:
        """The end of a component's log."""
        try:
            return "\n".join(self.log(name).read_text("utf-8", "replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def await_ready(self, components: Iterable[Component], on_ready: Callable[[Component], None]) -> None:
        """Wait until each component answers.

        Raises:
            ComponentError: one ended or did not answer in time; the message has the end of its log.
        """
        pending = {component.name: component for component in components}
        begun = time.monotonic()
        while pending:
            for component in list(pending.values()):
                record = self.running(component.name)
                if record is None:
                    raise self._failure(component.name, "ended while it started")
                if component.ready(record):
                    on_ready(pending.pop(component.name))
                elif time.monotonic() > begun + component.start_seconds:
                    raise self._failure(component.name, f"does not answer after {component.start_seconds:.0f} s")
            time.sleep(0.1)

    def _failure(self, name: str, what: str) -> ComponentError:
        return ComponentError(f"{name} {what}; the end of {self.log(name)}:\n{self.tail(name)}")

    def _marked(self, process: psutil.Process) -> bool:
        """Whether a process was started for this state, or is ending.

        The kernel takes the memory of an ending process, its environment included, before
        it closes its files: for that moment it can still hold a port and has no mark.
        """
        environment = process.environ()
        if not environment and process.memory_info().vms == 0:
            return True
        return environment.get("MLOPS_STATE_DIR") == str(self.state)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition for so many seconds; return whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _leader(record: Record) -> psutil.Process | None:
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < CLOCK_SLACK
        return process if same and _alive(process) else None
    except psutil.NoSuchProcess:
        return None


def _alive(process: psutil.Process) -> bool:
    if process.status() != psutil.STATUS_ZOMBIE:
        return True
    with contextlib.suppress(psutil.TimeoutExpired):
        process.wait(0)  # Our own child that ended: let the kernel forget it.
    return False


def _signal(processes: Iterable[psutil.Process], sign: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(sign)


def _environment(component: Component) -> dict[str, str]:
    foreign = tuple(prefix for prefix in FOREIGN if prefix not in component.keep)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and k not in SETTINGS}
    # Flow runs start `python`: it must be the interpreter of this environment.
    inherited["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    # A proxy of the shell stands between us and the world, not between our own processes.
    proxied = inherited.get("NO_PROXY") or inherited.get("no_proxy")
    inherited["NO_PROXY"] = inherited["no_proxy"] = ",".join(filter(None, (proxied, "127.0.0.1,localhost")))
    return {name: value for name, value in (inherited | component.env).items() if value or name not in component.env}
