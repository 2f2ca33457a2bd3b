"""Tasks that touch the network are tried again, but not when another try cannot help."""

from typing import Any

import pytest
from prefect.states import Failed
from prefect.task_engine import TaskRunTimeoutError

from mlops.adapters.services import ReplacementFailed
from mlops.adapters.services.limits import ENSURE_SECONDS
from mlops.adapters.store import Conflict
from tasks.mend import mend
from tasks.network import Refused, _transient, network_task
from tasks.release import put_back, serve
from tasks.rollback import go_back


@network_task("probe {model}", timeout=5)
def probe(model: str) -> str:
    return model


def failed(error: Exception) -> Any:
    return Failed(data=error)


def test_delays_grow_and_are_jittered() -> None:
    assert probe.retries == 4
    assert probe.retry_delay_seconds == [2, 4, 8, 16]
    assert probe.retry_jitter_factor == 0.3
    assert probe.timeout_seconds == 5


@pytest.mark.parametrize("error", [ConnectionError("refused"), TimeoutError(), OSError("disk")])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert _transient(probe, None, failed(error))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error", [Refused("no"), ReplacementFailed("put back"), ValueError("bad"), Conflict("changed")]
)
def test_what_cannot_pass_is_not(error: Exception) -> None:
    assert not _transient(probe, None, failed(error))  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [serve, put_back, go_back, mend])
def test_a_task_that_may_replace_a_service_outlasts_that_and_is_not_repeated_when_it_is_over(changes: Any) -> None:
    """Prefect would end it while the service from before is put back, and then replace it once more."""
    assert changes.timeout_seconds > ENSURE_SECONDS
    assert changes.retry_condition_fn(changes, None, failed(ConnectionError("refused")))
    assert not changes.retry_condition_fn(changes, None, failed(TaskRunTimeoutError()))
    assert not changes.retry_condition_fn(changes, None, failed(ReplacementFailed("put back")))
