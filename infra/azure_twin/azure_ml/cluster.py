"""The scheduler: nodes come when jobs wait, jobs run on them as local processes, idle nodes go."""

import asyncio
import contextlib
import os
import re
import shlex
import signal
import time
from typing import Any

from infra.azure_twin import isolation
from infra.azure_twin.azure_ml.blobs import Blobs
from infra.azure_twin.azure_ml.errors import failure, user_error
from infra.azure_twin.azure_ml.nodes import ImageMissing, Nodes
from infra.azure_twin.azure_ml.state import ACTIVE, ENDED, Cluster, Run, Workspace, now
from infra.azure_twin.twin import Twin

SIZES = {
    "STANDARD_DS1_V2": "standardDSv2Family",
    "STANDARD_DS2_V2": "standardDSv2Family",
    "STANDARD_DS3_V2": "standardDSv2Family",
    "STANDARD_D2_V2": "standardDv2Family",
    "STANDARD_D2S_V3": "standardDSv3Family",
    "STANDARD_E4DS_V4": "standardEDSv4Family",
    "STANDARD_F4S_V2": "standardFSv2Family",
}
"""Sizes that may be asked for, with their quota families."""
NODE_SECONDS = 0.5
PREEMPTED_SECONDS = 5.0
"""How long a pre-empted job waits at least for another node."""
TICK_SECONDS = 0.1
KILL_SECONDS = 5.0
LOG = "user_logs/std_log.txt"


class Scheduler:
    """Runs the jobs of all clusters."""

    def __init__(self, twin: Twin, blobs: Blobs) -> None:
        self.twin = twin
        self.faults = twin.faults
        self.blobs = blobs
        self._loops: dict[int, asyncio.Task[None]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.nodes = Nodes(twin)

    def wake(self, workspace: Workspace, cluster: Cluster) -> None:
        """Look after a cluster until nothing waits and its surplus nodes are gone."""
        key = id(cluster)  # Not its name: one that was deleted may still be looked after.
        if key not in self._loops or self._loops[key].done():
            self._loops[key] = asyncio.create_task(self._look_after(workspace, cluster))

    async def _look_after(self, workspace: Workspace, cluster: Cluster) -> None:
        while cluster.state == "Succeeded":
            scale = _scale(cluster)
            queued = [run for run in workspace.jobs_on(cluster.name) if run.status == "Queued"]
            if queued and cluster.idle:
                cluster.idle.pop()
                self._spawn(self._run(workspace, cluster, queued[0]))
            elif (len(queued) > cluster.preparing and cluster.nodes < scale["max"]) or cluster.nodes < scale["min"]:
                self._allocate(workspace, cluster, queued)
            surplus = [since for since in cluster.idle if time.monotonic() - since > scale["idle"]]
            if surplus and cluster.nodes > scale["min"] and not queued:
                cluster.idle.remove(surplus[0])
            if not queued and not cluster.preparing and not cluster.running and cluster.nodes <= scale["min"]:
                return
            await asyncio.sleep(TICK_SECONDS)

    def _allocate(self, workspace: Workspace, cluster: Cluster, queued: list[Run]) -> None:
        if self.faults.take(("no nodes",), f"{workspace.scope}/computes/{cluster.name}"):
            size = cluster.properties["vmSize"]
            error = failure("no nodes", name=cluster.name, size=size, location=workspace.location)
            cluster.errors = [error.body]
            for run in queued:
                run.queueing = f"{error.code}: {error.message}"
            return
        cluster.errors = []
        cluster.preparing += 1
        self._spawn(self._prepare(cluster))

    async def _prepare(self, cluster: Cluster) -> None:
        await asyncio.sleep(NODE_SECONDS)
        cluster.preparing -= 1
        cluster.idle.append(time.monotonic())

    async def _run(self, workspace: Workspace, cluster: Cluster, run: Run) -> None:
        cluster.running += 1
        run.status, run.started = "Running", now()
        target = f"{workspace.scope}/runs/{run.run_id}"
        try:
            preemption = self.faults.take(("preempted",), target)
            process = await self._start(workspace, run, crash=bool(self.faults.take(("job crash",), target)))
            self._processes[run.run_id] = process
            code = await self._wait(process, run, preemption.seconds if preemption else None)
            if code is None:
                self._requeue(cluster, run)
            else:
                _finish(run, code)
        except (OSError, ImageMissing) as error:
            run.status, run.ended = "Failed", now()
            run.error = user_error(
                "ImageBuildFailure" if isinstance(error, ImageMissing) else "ExecutionFailed", str(error)
            )
        finally:
            await isolation.end(run.run_id)  # What a job started ends with it, and with its node.
            self._processes.pop(run.run_id, None)
            cluster.running -= 1
        # Not before its processes have ended, which those of the next attempt would be ended with.
        if run.status == "Preparing":
            self._spawn(self._queue_later(workspace, cluster, run))
        elif run.status == "CancelRequested":  # Meanwhile.
            run.status, run.ended = "Canceled", now()
        if not run.preemptions or run.status in ENDED:  # A pre-empted node is gone; another one keeps idling.
            cluster.idle.append(time.monotonic())
        self.wake(workspace, cluster)

    async def _wait(self, process: asyncio.subprocess.Process, run: Run, preempt: float | None) -> int | None:
        """The exit code; none when the node was taken away."""
        limit = run.definition.get("maxRunDurationSeconds")
        try:
            return await asyncio.wait_for(process.wait(), preempt if preempt is not None else limit)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
            await process.wait()
            if preempt is not None and run.status == "Running":
                return None
            if run.status == "Running":
                run.status = "CancelRequested"
                run.error = user_error("JobTimeout", f"The job exceeded its maximum run duration of {limit} seconds.")
            return -signal.SIGKILL

    def _requeue(self, cluster: Cluster, run: Run) -> None:
        """A low-priority node was pre-empted: Azure queues the job again."""
        cluster.preempted += 1
        run.preemptions += 1
        run.status, run.started = "Preparing", None
        run.queueing = "The node was preempted. The job is queued to run again."

    async def _queue_later(self, workspace: Workspace, cluster: Cluster, run: Run) -> None:
        await asyncio.sleep(PREEMPTED_SECONDS)
        if run.status == "Preparing":
            run.status = "Queued"
            self.wake(workspace, cluster)

    async def _start(self, workspace: Workspace, run: Run, *, crash: bool) -> asyncio.subprocess.Process:
        folder = self.twin.state / "azure-ml" / "jobs" / run.run_id
        folder.mkdir(parents=True, exist_ok=True)
        for path, blob in workspace.snapshots[run.snapshot].items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.blobs.path(blob).read_bytes())
        blob = f"{workspace.account}/azureml/ExperimentRun/dcid.{run.run_id}/{LOG}"
        run.artifacts[LOG] = blob
        log = self.blobs.path(blob)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = ["sh", "-c", "echo 'the job dies as it starts' >&2; exit 1"] if crash else _command(run.definition)
        environment = self.nodes.environment(workspace, run, folder)
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def cancel(self, run: Run) -> None:
        """End a job as a cancel request does."""
        if run.status not in ACTIVE:
            return
        process = self._processes.get(run.run_id)
        if process is None:
            run.status, run.ended = "Canceled", now()
            return
        run.status = "CancelRequested"
        _signal(process, signal.SIGTERM)
        self._spawn(_kill_later(process))

    async def end(self, runs: list[Run]) -> None:
        """Cancel jobs and wait until their processes are gone."""
        waiting = [self._processes[run.run_id] for run in runs if run.run_id in self._processes]
        for run in runs:
            await self.cancel(run)
        await asyncio.gather(*(process.wait() for process in waiting))

    async def close(self) -> None:
        """End all jobs and loops."""
        for task in self._loops.values():
            task.cancel()
        for run_id, process in list(self._processes.items()):
            await isolation.end(run_id)
            await process.wait()
        for task in list(self._jobs):
            task.cancel()

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)


def _scale(cluster: Cluster) -> dict[str, float]:
    settings = cluster.properties.get("scaleSettings") or {}
    return {
        "min": int(settings.get("minNodeCount") or 0),
        "max": int(settings.get("maxNodeCount") or 1),
        "idle": seconds(settings.get("nodeIdleTimeBeforeScaleDown") or "PT120S"),
    }


def seconds(duration: str) -> float:
    """Seconds of an ISO 8601 duration of days to seconds, as ``PT5M``.

    Raises:
        ValueError: it is none.
    """
    pattern = r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?"
    found = re.fullmatch(pattern, duration)
    if not found:
        raise ValueError(f"{duration!r} is no duration")
    return sum(float(value or 0) * unit for value, unit in zip(found.groups(), (86400, 3600, 60, 1), strict=True))


def _command(definition: dict[str, Any]) -> list[str]:
    if command := definition.get("command"):
        return ["bash", "-c", command if isinstance(command, str) else shlex.join(command)]
    return ["python", definition["script"], *map(str, definition.get("arguments") or ())]


def _finish(run: Run, code: int) -> None:
    run.ended = now()
    if run.status == "CancelRequested":
        run.status = "Canceled"
    elif code == 0:
        run.status = "Completed"
    else:
        run.status = "Failed"
        message = f"Execution failed. User process exited with status code {code}. Please check log file {LOG!r}."
        run.error = user_error("ExecutionFailed", message)


async def _kill_later(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), KILL_SECONDS)
        return
    _signal(process, signal.SIGKILL)


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
