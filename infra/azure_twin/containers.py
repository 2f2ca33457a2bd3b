"""A container as a process of this machine: started, watched by probes, restarted by its policy, ended."""

import asyncio
import contextlib
import shutil
import signal
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

import httpx

from infra.azure_twin import isolation
from infra.azure_twin.images import Plan
from infra.azure_twin.operations import utc

LOG_BYTES = 4 * 1024 * 1024
"""Azure keeps the newest 4 MB of a container's output."""
GRACE_SECONDS = 10.0
BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
State = dict[str, Any]


class Container:
    """One container of a group; ``policy`` is Always, OnFailure or Never."""

    def __init__(self, name: str, plan: Plan, policy: str, probes: dict[str, Any], address: str, log: Path) -> None:
        self.name = name
        self._file = log
        self.plan = plan
        self._id = uuid.uuid4().hex
        self._environment = plan.environment | {isolation.ONE: self._id}
        self.current: State = {"state": "Waiting", "detailStatus": ""}
        self.previous: State | None = None
        self.restarts = 0
        self.ready = "readiness" not in probes
        self.events: dict[str, State] = {}
        self._policy = policy
        self._probes = probes
        self._address = address
        self._lines: deque[tuple[str, str]] = deque()
        self._bytes = 0
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self.started = asyncio.Event()

    def start(self) -> None:
        """Begin; the container then lives by its policy."""
        self._task = asyncio.get_running_loop().create_task(self._live())

    async def stop(self) -> None:
        """End it and all that it started."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def finished(self) -> int:
        """Wait until it is over by its policy; return its exit code."""
        if self._task:
            await asyncio.wait([self._task])
        return int(self.current.get("exitCode", -1))

    def kill(self, reason: str) -> None:
        """End its process at once, as the platform does; the policy decides what follows."""
        self.note("Killing", reason)
        if self._process and self._process.returncode is None:
            _signal(self._process, signal.SIGKILL)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """End the container's processes: the first is asked, all are killed later."""
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_ended(process), GRACE_SECONDS)
        await isolation.end(self._id)
        await _ended(process)

    def logs(self, tail: int | None, timestamps: bool) -> str:
        """The newest lines of its output."""
        lines = list(self._lines)[-tail:] if tail else list(self._lines)
        return "".join(f"{moment} {text}\n" if timestamps else f"{text}\n" for moment, text in lines)

    def view(self) -> State:
        """As the instance view shows it."""
        shown: State = {
            "restartCount": self.restarts,
            "currentState": self.current,
            "events": list(self.events.values()),
        }
        return shown | ({"previousState": self.previous} if self.previous else {})

    def note(self, name: str, message: str, kind: str = "Normal") -> None:
        """Add an event, or count it again."""
        moment = utc(time.time())
        known = self.events.setdefault(
            f"{name} {message}",
            {"count": 0, "firstTimestamp": moment, "name": name, "message": message, "type": kind},
        )
        known["count"] += 1
        known["lastTimestamp"] = moment

    async def _live(self) -> None:
        while True:
            code = await self._once()
            if self._policy == "Never" or (self._policy == "OnFailure" and code == 0):
                return
            self.previous = self.current
            self.current = {"state": "Waiting", "detailStatus": "CrashLoopBackOff" if code else ""}
            await asyncio.sleep(BACKOFF_SECONDS[min(self.restarts, len(BACKOFF_SECONDS) - 1)] if code else 0)
            self.restarts += 1

    async def _once(self) -> int:
        """Run the process once; return its exit code."""
        began = utc(time.time())
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                # Looked up where the container would look, which is not where the twin's shell does.
                shutil.which(self.plan.command[0], path=self._environment["PATH"]) or self.plan.command[0],
                *self.plan.command[1:],
                cwd=self.plan.folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._log(f"{self.plan.command[0]}: {error.strerror}")
            self.note("Failed", f"Error: failed to start container: {error.strerror}", "Warning")
            self.current = {
                "state": "Terminated",
                "startTime": began,
                "exitCode": 127,
                "finishTime": began,
                "detailStatus": "Error",
            }
            self.started.set()
            return 127
        self.current = {"state": "Running", "startTime": began, "detailStatus": ""}
        self.note("Started", "Started container")
        self.started.set()
        watchers = [asyncio.create_task(self._watch(kind, probe)) for kind, probe in self._probes.items()]
        try:
            await self._pump(process)
            code = await _ended(process)
        finally:
            for watcher in watchers:
                watcher.cancel()
            self.ready = "readiness" not in self._probes
            await self._end(process)
            status = process.returncode if process.returncode is not None else -signal.SIGKILL
            code = status if status >= 0 else 128 - status
            self.current = {
                "state": "Terminated",
                "startTime": began,
                "exitCode": code,
                "finishTime": utc(time.time()),
                "detailStatus": "Error" if code else "Completed",
            }
        return code

    async def _pump(self, process: asyncio.subprocess.Process) -> None:
        """Keep the process's output, until the process ends or closes it."""
        assert process.stdout  # noqa: S101 - it was asked for
        rest = b""
        reading = asyncio.ensure_future(process.stdout.read(1 << 16))
        waiting = asyncio.ensure_future(_ended(process))
        try:
            while True:
                # What it started may hold the output open for longer than it lives.
                await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    await asyncio.wait([reading], timeout=0.2)
                if not reading.done() or not (data := reading.result()):
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._log(line.decode("utf-8", "replace"))
                reading = asyncio.ensure_future(process.stdout.read(1 << 16))
        finally:
            reading.cancel()
            waiting.cancel()
            if rest:
                self._log(rest.decode("utf-8", "replace"))

    def _log(self, line: str) -> None:
        with self._file.open("a", encoding="utf-8") as file:  # For people: a deleted group's logs are gone on Azure.
            file.write(f"{line}\n")
        self._lines.append((utc(time.time()), line))
        self._bytes += len(line)
        while self._bytes > LOG_BYTES:
            self._bytes -= len(self._lines.popleft()[1])

    async def _watch(self, kind: str, probe: dict[str, Any]) -> None:
        """Ask a probe again and again; liveness ends the process, readiness opens and closes the door."""
        period, limit = probe.get("periodSeconds", 10), probe.get("failureThreshold", 3)
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        failures = 0
        while True:
            well = await self._asks(probe)
            failures = 0 if well else failures + 1
            if kind == "readiness":
                self.ready = well or (self.ready and failures < limit)
                # A probe of every ten seconds would make each rehearsal ten seconds longer.
                await asyncio.sleep(period if self.ready else min(period, 0.5))
                continue
            if failures >= limit:
                self.kill("Container failed liveness probe, will be restarted")
                return
            await asyncio.sleep(period)

    async def _asks(self, probe: dict[str, Any]) -> bool:
        seconds = probe.get("timeoutSeconds", 1)
        if request := probe.get("httpGet"):
            scheme = (request.get("scheme") or "http").lower()
            url = f"{scheme}://{self._address}:{local_port(int(request['port']))}{request.get('path') or '/'}"
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient(trust_env=False, verify=False, timeout=seconds) as client:  # noqa: S501
                    return (await client.get(url)).status_code < 400
            return False
        command = probe.get("exec", {}).get("command") or ["true"]
        process = await asyncio.create_subprocess_exec(*command, env=self._environment, cwd=self.plan.folder)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(process.wait(), seconds) == 0
        process.kill()
        return False


def local_port(port: int) -> int:
    """Where a container's port is on this machine: those below 1024 need a privilege that nobody shall need."""
    return port if port >= 1024 else port + 20000


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """A container's first process alone gets signals; what it started dies with it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


async def _ended(process: asyncio.subprocess.Process) -> int:
    """Wait until a process has ended; asyncio's own wait lasts until its output is closed, too, by all that it started.

    Returns:
        Its exit code.
    """
    while process.returncode is None:
        await asyncio.sleep(0.05)
    return process.returncode
