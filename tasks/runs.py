"""What Prefect, and a sign of life, say of flow runs."""

from typing import Any
from uuid import UUID

import msgspec

from mlops.adapters.life import SignOfLife, lives
from mlops.adapters.store import Store
from tasks.context import current_flow_run, open_model


class Run(msgspec.Struct, frozen=True):
    """A flow run: its name, its state in words, and whether it may still act."""

    id: str
    name: str
    state: str
    alive: bool
    running: bool = False
    """Whether a process should be at work on it now, as far as Prefect knows."""

    def __str__(self) -> str:
        return f"flow run {self.name} ({self.id or 'without an id'}), which is {self.state}"


def describe_run(run_id: str) -> Run:
    """Ask Prefect's API about a flow run; one that it does not know is not alive, a killed one may seem so."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(UUID(run_id))
    except (ValueError, ObjectNotFound):
        return Run(run_id, "of unknown name", "unknown to Prefect", alive=False)
    if found.state is None:
        return Run(run_id, found.name, "without a state", alive=True)
    message = f" ({found.state.message})" if found.state.message else ""
    alive, running = not found.state.is_final(), found.state.is_running()
    return Run(run_id, found.name, f"{found.state.name}{message}", alive=alive, running=running)


def sign_of_life(model: str) -> SignOfLife:
    """What a run of a flow that changes PROD holds while it is at work."""
    return SignOfLife(open_model(model).store, model, current_flow_run())


def find_writer(store: Store, model: str, run_id: str) -> Run:
    """Ask Prefect about the run that wrote a state, and one that should be at work for a sign of life."""
    run = describe_run(run_id)
    if run.running and not lives(store, model, run_id):
        silent = f"{run.state} for Prefect, but gives no sign of life"
        return msgspec.structs.replace(run, state=silent, alive=False, running=False)
    return run


def unfinished_runs(deployment: str, **parameters: Any) -> list[Run]:
    """The runs of a deployment with these parameters that are not over: scheduled, running, suspended."""
    from prefect import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import TERMINAL_STATES

    over = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=list(TERMINAL_STATES)))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
            flow_run_filter=FlowRunFilter(state=over),
        )
    return [
        Run(str(run.id), run.name, (run.state and run.state.name) or "without a state", alive=True)
        for run in found
        if parameters.items() <= run.parameters.items()
    ]
