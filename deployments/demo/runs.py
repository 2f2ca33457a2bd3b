"""What the demo asks of Prefect's API: start deployments, wait for runs, fill in the approval form."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment

POLL_SECONDS = 0.5
T = TypeVar("T")


class DemoError(Exception):
    """The demo cannot go on; the message says where to look."""


def wait_for(what: str, condition: Callable[[], T | None], timeout: float = 240.0) -> T:
    """Wait until a condition holds and return what it found.

    Raises:
        DemoError: it does not hold after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        if (found := condition()) is not None:
            return found
        if time.monotonic() > deadline:
            raise DemoError(f"waited {timeout:g} s for {what}; the Prefect UI shows how far it came")
        time.sleep(POLL_SECONDS)


def start(name: str, **parameters: Any) -> FlowRun:
    """Start a run of a deployment; return it as it was scheduled."""
    started: Any = run_deployment(name, parameters=parameters, timeout=0, as_subflow=False)
    scheduled: FlowRun = started
    return scheduled


def run(name: str, **parameters: Any) -> FlowRun:
    """Run a deployment to its end.

    Raises:
        DemoError: the run did not complete.
    """
    started = start(name, **parameters)
    return completed(wait_for(f"the run of {name}", lambda: ended(started.id), timeout=300))


def completed(finished: FlowRun) -> FlowRun:
    """Return a run that completed.

    Raises:
        DemoError: it ended otherwise, or not at all.
    """
    state = finished.state
    if state is None or not state.is_completed():
        shown = f"{state.name}: {state.message}" if state else "without a state"
        raise DemoError(f"flow run {finished.name} ({finished.id}) ended {shown}")
    return finished


def find_run(deployment: str, since: datetime, **parameters: Any) -> FlowRun | None:
    """The newest run of a deployment with these parameters, created since a moment."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=50,
        )
    matching = (run for run in runs if parameters.items() <= run.parameters.items())
    return next((run for run in matching if run.created and run.created >= since), None)


def read_run(run_id: UUID) -> FlowRun:
    """Read a run again."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id)


def ended(run_id: UUID) -> FlowRun | None:
    """A run, once it is in a final state."""
    found = read_run(run_id)
    return found if found.state and found.state.is_final() else None


def suspended_or_ended(run_id: UUID) -> FlowRun | None:
    """A run, once it waits for its approval or is over."""
    found = read_run(run_id)
    waits = found.state is not None and found.state.type == StateType.PAUSED
    return found if waits else ended(run_id)


def approve(run_id: UUID, approver: str, comment: str) -> None:
    """Fill in the approval form of a suspended run, by the call that the UI makes.

    Raises:
        DemoError: the server refused the answer.
    """
    answer = {"decision": "approve", "approver": approver, "comment": comment}
    with get_client(sync_client=True) as client:
        result = client.resume_flow_run(run_id, run_input=answer)
    if result.status.value != "ACCEPT":
        raise DemoError(f"the approval of flow run {run_id} was refused: {result.details}")


def find_event(name: str, model: str, since: datetime, **payload: Any) -> dict[str, Any] | None:
    """An event about a model with this payload, as the server keeps it."""
    query = {
        "filter": {
            "event": {"name": [name]},
            "resource": {"id": [f"mlops.model.{model}"]},
            "occurred": {"since": since.isoformat()},
        },
        "limit": 50,
    }
    with get_client(sync_client=True) as client:
        response = client._client.post("/events/filter", json=query)
    events: list[dict[str, Any]] = response.raise_for_status().json()["events"]
    return next((event for event in events if payload.items() <= event["payload"].items()), None)
