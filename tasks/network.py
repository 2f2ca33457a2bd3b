"""The one way to declare a task that touches the network: a timeout and growing, jittered retries."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from prefect import Task, task
from prefect.cache_policies import DEFAULT, NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from mlops.adapters.bundles import BundleError
from mlops.adapters.registry import RegistryError
from mlops.adapters.services import ReplacementFailed
from mlops.adapters.snapshots import SnapshotError
from mlops.adapters.store import Conflict

P = ParamSpec("P")
R = TypeVar("R")


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
    return task(
        name=name.partition(" {")[0],
        task_run_name=name,
        retries=4,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_jitter_factor=0.3,
        retry_condition_fn=_transient,
        timeout_seconds=timeout,
        persist_result=resumable,
        cache_policy=DEFAULT if resumable else NO_CACHE,
    )


def _transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return not isinstance(error, PERMANENT)
