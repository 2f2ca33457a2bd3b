"""Jobs of flow runs, asked from the worker's event loop: calls run in threads and are tried again."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import anyio
from anyio import to_thread

from deployments.workers.azure_ml.configuration import AzureMlJobConfiguration, job_id
from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.azure_ml_errors import AzureMlError
from mlops.core.azure_ml import Job, JobSpec

T = TypeVar("T")
DELAYS = (1.0, 2.0, 4.0, 8.0)
LIMITER_TOKENS = 16


class Jobs:
    """The jobs of one workspace. ``opener`` signs in anew, which is what an expired token needs."""

    def __init__(self, opener: Callable[[], AzureMl]) -> None:
        self._opener = opener
        self._opened: AzureMl | None = None
        self._limiter = anyio.CapacityLimiter(LIMITER_TOKENS)

    async def once(self, call: Callable[[AzureMl], T]) -> T:
        """Call in a thread, once. Raises ``AzureMlError``."""
        try:
            return await to_thread.run_sync(self._call, call, limiter=self._limiter, abandon_on_cancel=True)
        except AzureMlError as error:
            if error.transient:
                self._opened = None
            raise

    def _call(self, call: Callable[[AzureMl], T]) -> T:
        if self._opened is None:
            self._opened = self._opener()
        return call(self._opened)

    async def ask(self, call: Callable[[AzureMl], T]) -> T:
        """Call in a thread, and again while the error is transient. Raises ``AzureMlError``."""
        for delay in DELAYS:
            try:
                return await self.once(call)
            except AzureMlError as error:
                if not error.transient:
                    raise
                await anyio.sleep(delay)
        return await self.once(call)

    async def newest(self, flow_run_id: str) -> tuple[int, Job | None]:
        """The newest job of a flow run and its attempt; attempt -1 when there is none."""
        attempt, found = -1, None
        while job := await self.ask(lambda ml, n=attempt + 1: ml.job(job_id(flow_run_id, n))):  # type: ignore[misc]
            attempt, found = attempt + 1, job
        return attempt, found

    async def start(self, configuration: AzureMlJobConfiguration, flow_run_id: str, pool: str) -> tuple[int, Job]:
        """Find the flow run's living job, or submit one; the id makes sure that there is only one."""
        attempt, found = await self.newest(flow_run_id)
        if found and not found.ended:
            return attempt, found
        spec = configuration.job(job_id(flow_run_id, attempt + 1), flow_run_id, pool)
        return attempt + 1, await self.ask(partial(_submit_once, spec=spec))


def _submit_once(ml: AzureMl, spec: JobSpec) -> Job:
    """Submit, unless an earlier try whose answer was lost did; the SDK tags a job after it has submitted it."""
    found = ml.job(spec.id)
    if found is None:
        return ml.submit(spec)
    if not spec.tags.items() <= found.tags.items():
        ml.tag(spec.id, spec.tags)
    return found
