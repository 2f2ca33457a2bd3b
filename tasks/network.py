"""The two ways to declare a task that touches the network: a timeout and growing, jittered retries."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from prefect import Task, task
from prefect.cache_policies import DEFAULT, NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff

from mlops.adapters.bundles import BundleError
from mlops.adapters.registry import RegistryError
from mlops.adapters.services import ReplacementFailed
from mlops.adapters.services.limits import ENSURE_SECONDS
from mlops.adapters.snapshots import SnapshotError
from mlops.adapters.store import Conflict

P = ParamSpec("P")
R = TypeVar("R")


SERVICE_SECONDS = ENSURE_SECONDS + 600.0
"""More than a task may need that changes a scoring service, with all that it asks of the store and the service."""


class Refused(Exception):
    """A step ended for a reason that another try cannot change; the message says which."""


PERMANENT = (
    Refused, ReplacementFailed, BundleError, RegistryError, SnapshotError, Conflict, ValueError, TypeError,
    msgspec.MsgspecError,
)  # fmt: skip


def network_task(
    name: str, *, timeout: float | None = 120, resumable: bool = False
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Declare a task that is tried up to five times, after about 2, 4, 8 and 16 s.

    Args:
        name: as shown in the UI; may use the task's parameters, as in ``train {candidate}``.
        timeout: seconds for one try; none for tasks that are mapped: they run in threads, which cannot be
            interrupted, and rely on the timeouts of their clients.
        resumable: keep the result, so that a flow run that was suspended does not repeat it.
    """
    return _declare(name, timeout, resumable, _transient)


def service_task(name: str, *, resumable: bool = False) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Declare a network task that may replace a scoring service: it has time to put the one from before back.

    A try that is not done then, although each of its steps has an end of its own, is not repeated: it may have left
    the service half replaced, and another try would interrupt it again, no longer knowing what was there before.
    """
    return _declare(name, SERVICE_SECONDS, resumable, _transient_and_over)


def _declare(
    name: str, timeout: float | None, resumable: bool, condition: Callable[..., bool]
) -> Callable[[Callable[P, R]], Task[P, R]]:
    return task(
        name=name.partition(" {")[0],
        task_run_name=name,
        retries=4,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_jitter_factor=0.3,
        retry_condition_fn=condition,
        timeout_seconds=timeout,
        persist_result=resumable,
        cache_policy=DEFAULT if resumable else NO_CACHE,
    )


def _transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return not isinstance(error, PERMANENT)


def _transient_and_over(given: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return _transient(given, run, state) and not isinstance(error, TaskRunTimeoutError)
