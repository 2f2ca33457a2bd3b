"""Automations of the whole installation: they end flow runs that nobody works on any more.

Those of single deployments stand in ``prefect.yaml``.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.automations import AutomationCore
    from prefect.client.orchestration import PrefectClient

HEARTBEAT_SECONDS = 30
"""How often a flow run says that it lives, where ``prefect.yaml`` and the stack set nothing else."""
SILENT = timedelta(seconds=3 * HEARTBEAT_SECONDS)
STARTS_WITHIN = timedelta(minutes=30)
"""Longer than a container group takes to start or to be given up by the worker, with all of its retries."""
ENDS = ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed", "Rejected", "Refused", "Rolled back")
WAITS = ("Suspended", "Paused", "AwaitingRetry", "Scheduled", "Pending")
"""States in which no process says that it lives: of a run that waits for an answer, a node or its next attempt."""


def lost_runs(silent: timedelta = SILENT) -> "AutomationCore":
    """A run whose worker and process died sends no heartbeat; without this it would be Running for ever."""
    return _crashes(
        "mark lost flow runs as crashed",
        "No heartbeat for three periods.",
        "No heartbeat: the process or its machine is gone.",
        after="heartbeat",
        expect=("heartbeat", *ENDS, *WAITS),
        within=silent,
    )


def runs_that_never_started(within: timedelta = STARTS_WITHIN, pool: str = "operations") -> "AutomationCore":
    """A run whose worker died before it started anything has no process; it would hold a slot of the pool for ever.

    The pool of training is left out: its runs wait for a node as long as the job's variables say, and its worker takes
    up again what another one left.
    """
    return _crashes(
        "mark flow runs that never started as crashed",
        f"Pending in the pool {pool} for {within.total_seconds() / 60:g} minutes.",
        f"It did not start within {within.total_seconds() / 60:g} minutes: the worker that took it is gone.",
        after="Pending",
        expect=("Running", "Cancelling", *ENDS, *(state for state in WAITS if state != "Pending")),
        within=within,
        pool=pool,
    )


async def ensure(*wanted: "AutomationCore") -> None:
    """Make those that are not there, and change those that are otherwise; who was switched off stays off."""
    from prefect import get_client

    async with get_client() as client:
        for each in wanted:
            await _ensure(client, each)


async def _ensure(client: "PrefectClient", wanted: "AutomationCore") -> None:
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return
    for each in found:
        same = {"description", "trigger", "actions"}
        if each.model_dump(include=same) != wanted.model_dump(include=same):
            await client.update_automation(each.id, wanted.model_copy(update={"enabled": each.enabled}))


def _crashes(
    name: str,
    description: str,
    message: str,
    after: str,
    expect: tuple[str, ...],
    within: timedelta,
    pool: str = "",
) -> "AutomationCore":
    """Crash a run to which none of the expected events came in time after another one."""
    from prefect.automations import AutomationCore
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    of_pool = {"prefect.resource.role": "work-pool", "prefect.resource.name": pool} if pool else {}
    return AutomationCore(
        name=name,
        description=description,
        trigger=EventTrigger(
            after={f"prefect.flow-run.{after}"},
            expect={f"prefect.flow-run.{each}" for each in expect},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            match_related=of_pool,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )
