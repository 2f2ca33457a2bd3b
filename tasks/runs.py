"""What Prefect knows about the flow run that wrote a serving state."""

from uuid import UUID

import msgspec


class Run(msgspec.Struct, frozen=True):
    """A flow run: its name, its state in words, and whether it may still act."""

    id: str
    name: str
    state: str
    alive: bool

    def __str__(self) -> str:
        return f"flow run {self.name} ({self.id or 'without an id'}), which is {self.state}"


def describe_run(run_id: str) -> Run:
    """Ask Prefect's API about a flow run; one that it does not know is not alive."""
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
    return Run(run_id, found.name, f"{found.state.name}{message}", alive=not found.state.is_final())
