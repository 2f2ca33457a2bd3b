"""Follows one job until it ends, and tells Prefect what became of the flow run."""

import re
import time
from dataclasses import dataclass, field
from logging import LoggerAdapter
from typing import TYPE_CHECKING, Any

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Crashed

from deployments.workers.azure_ml.configuration import AzureMlJobConfiguration
from deployments.workers.azure_ml.jobs import Jobs
from mlops.adapters.azure_ml_errors import AzureMlError
from mlops.core.azure_ml import Job, preempted

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

# The engine in the job has sent these lines to Prefect itself.
KNOWN_LINE = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| \w+ +\| (Flow|Task) run ")
UNREACHABLE_SECONDS = 60.0
CANCEL_SECONDS = 300.0


@dataclass
class Watch:
    """A job and the flow run that it is for."""

    jobs: Jobs
    client: PrefectClient
    flow_run: "FlowRun"
    configuration: AzureMlJobConfiguration
    job: Job
    attempt: int
    logger: "LoggerAdapter[Any]"
    seen: dict[str, int] = field(default_factory=dict)
    rest: dict[str, bytes] = field(default_factory=dict)

    async def follow(self) -> int:
        """Watch until the job is over and Prefect knows how; return the process's code, 0 when all is told."""
        waiting_since: float | None = None
        while not self.job.ended:
            waiting_since = (waiting_since or time.monotonic()) if self.job.waiting else None
            if waiting_since and time.monotonic() - waiting_since > self.configuration.max_queue_seconds:
                return await self._give_up()
            state = await self._state()
            if state is None or state.is_cancelling() or state.is_cancelled():
                return await self._cancel()
            await anyio.sleep(self.configuration.poll_seconds)
            before = self.job
            if not await self._look():
                return await self._crash(f"job {before.id} is not in the workspace any more")
            if preempted(before, self.job):
                return await self._start_anew()
        await self._forward_log()
        return await self._tell()

    async def _look(self) -> bool:
        """Read the job and its log; wait while Azure does not answer; return whether the job exists."""
        delay = self.configuration.poll_seconds
        while True:
            try:
                found = await self.jobs.once(lambda ml: ml.job(self.job.id))
            except AzureMlError as error:
                state = await self._state()
                if state is None or state.is_final():
                    raise  # Nothing depends on the job any more.
                self.logger.warning("Azure does not tell how job %s does; asked again: %s", self.job.id, error)
                delay = min(delay * 2, UNREACHABLE_SECONDS)
                await anyio.sleep(delay)
                continue
            if found is None:
                return False
            if found.detail and found.detail != self.job.detail and found.waiting:
                self.logger.warning("Job %s is %s: %s", found.id, found.status, found.detail)
            elif found.status != self.job.status:
                self.logger.info("Job %s is %s", found.id, found.status)
            self.job = found
            await self._forward_log()
            return True

    async def _forward_log(self) -> None:
        """Send what the job printed since the last look to the flow run's log, whole lines."""
        try:
            new = await self.jobs.once(lambda ml: ml.new_log(self.job.id, self.seen))
        except AzureMlError as error:
            self.logger.debug("The log of job %s cannot be read now: %s", self.job.id, error)
            return
        for name, data in new.items():
            self.seen[name] = self.seen.get(name, 0) + len(data)
            *lines, self.rest[name] = (self.rest.get(name, b"") + data).split(b"\n")
            if self.job.ended and self.rest[name]:
                lines.append(self.rest.pop(name))
            for line in lines:
                text = line.decode("utf-8", "replace").rstrip()
                if text and not KNOWN_LINE.match(text):
                    self.logger.info(text)

    async def _state(self) -> State[Any] | None:
        """The flow run's state; none when it was deleted."""
        try:
            return (await self.client.read_flow_run(self.flow_run.id)).state
        except ObjectNotFound:
            return None

    async def _tell(self) -> int:
        """The job has ended; unless the flow run said how it ended, say it in Azure's words."""
        state = await self._state()
        if state is None or state.is_final() or state.is_paused() or state.is_scheduled():
            return 0
        if self.job.status == "Completed":
            return await self._crash(f"job {self.job.id} completed and the flow run did not tell its end")
        if state.is_cancelling():
            return await self._set(Cancelled(message=f"job {self.job.id} was cancelled"))
        return await self._crash(f"job {self.job.id} {self.job.status.lower()}: {self.job.detail or 'no reason given'}")

    async def _cancel(self) -> int:
        # First the state: a flow that is told to end calls itself crashed, unless its run has ended already.
        state = await self._state()
        if state and not state.is_final():
            await self._set(Cancelled(message=f"job {self.job.id} is cancelled"))
        await self._end_job()
        return 0

    async def _give_up(self) -> int:
        """No node came in time."""
        await self._end_job()
        seconds = self.configuration.max_queue_seconds
        detail = self.job.detail or "no reason given"
        return await self._crash(f"job {self.job.id} found no node within {seconds} s: {detail}")

    async def _start_anew(self) -> int:
        """The node was taken away: a fresh attempt, since a second process of a running flow run would be refused."""
        reason = f"job {self.job.id}: {self.job.detail or 'its low-priority node was preempted'}"
        await self._end_job()
        if self.attempt >= self.configuration.max_preemptions:
            return await self._crash(f"{reason} (attempt {self.attempt + 1}, none left)")
        self.logger.warning("%s; the flow run starts anew", reason)
        return await self._set(AwaitingRetry(message=reason))

    async def _end_job(self) -> None:
        """Cancel the job and wait until it has ended."""
        await self.jobs.ask(lambda ml: ml.cancel(self.job.id))
        with anyio.move_on_after(CANCEL_SECONDS):
            while found := await self.jobs.ask(lambda ml: ml.job(self.job.id)):
                if found.ended:
                    return
                await anyio.sleep(min(self.configuration.poll_seconds, 2.0))
            return
        self.logger.error("Job %s was told to end and had not after %s s", self.job.id, CANCEL_SECONDS)

    async def _crash(self, message: str) -> int:
        self.logger.error(message)
        return await self._set(Crashed(message=message))

    async def _set(self, state: State[Any]) -> int:
        """Set the state; 0, since with another code Prefect's worker would say less about the same crash."""
        try:
            await self.client.set_flow_run_state(self.flow_run.id, state, force=True)
        except ObjectNotFound:
            self.logger.debug("Flow run %s was deleted", self.flow_run.id)
        return 0
