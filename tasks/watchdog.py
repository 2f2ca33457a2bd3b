"""Tasks of the watchdog: what the ledger asks for and no run has answered, because an event or a run was lost."""

from datetime import UTC, datetime, timedelta

import msgspec

from mlops.adapters.registry import CHALLENGER
from mlops.adapters.serving import read_state
from tasks.context import ModelContext, open_model
from tasks.network import network_task
from tasks.release import accepted_gate
from tasks.runs import unfinished_runs
from tasks.windows import due_windows, newest_alarm


class Unanswered(msgspec.Struct, frozen=True):
    """A window that asks for a retraining: an alarm's own, or that of its follow-up."""

    alarm: str
    window: str
    version: str
    detected: bool
    """Whether the window's own verdict is ``retrain``; else an alarm is followed up, or a fresh model tried."""


class Waiting(msgspec.Struct, frozen=True):
    """A challenger that no release has taken up."""

    version: str
    digest: str


@network_task("find unanswered alarms")
def unanswered_alarms(model: str, patience_minutes: float) -> list[Unanswered]:
    """The windows of the newest alarm, and of a refresh, without an answer and a run that may still give one.

    Alarms before the newest one are superseded: an answer to it sees all that they saw.

    Args:
        model: the name of a spec.
        patience_minutes: how old a decision must be before its event counts as lost.
    """
    context = open_model(model)
    alarm = newest_alarm(context)
    refreshes = context.ledger.decided("refresh", "due")
    asked = [(entry.subject, entry, entry.numbers["version"], False) for entry in refreshes]
    if alarm is not None:
        asked.append((alarm.name, alarm.judged.entry, alarm.judged.verdict.version, True))
        asked += [(alarm.name, entry, entry.numbers["version"], False) for entry in due_windows(context, alarm)]
    return [
        Unanswered(name, entry.subject, version, detected)
        for name, entry, version, detected in asked
        if _old(entry.time, patience_minutes)
        and context.ledger.find("retraining", entry.subject) is None
        and not unfinished_runs("retraining", model=model, alarm=name)
    ]


@network_task("find waiting challengers")
def waiting_challengers(model: str, patience_minutes: float) -> list[Waiting]:
    """The registry's challenger, if its gates passed, it does not serve, and no release of it was or is under way."""
    context = open_model(model)
    challenger = context.registry.alias(model, CHALLENGER)
    if challenger is None:
        return []
    gate = accepted_gate(context, challenger.digest)
    if gate is None or not _old(gate.time, patience_minutes):
        return []
    taken_up = _serves(context, challenger.digest) or any(
        entry.numbers.get("digest") == challenger.digest and entry.time > gate.time
        for entry in context.ledger.entries("release")
    )
    if taken_up or unfinished_runs("release", model=model, version=challenger.version):
        return []
    return [Waiting(challenger.version, challenger.digest)]


def _old(time: datetime, minutes: float) -> bool:
    return datetime.now(UTC) - time >= timedelta(minutes=minutes)


def _serves(context: ModelContext, digest: str) -> bool:
    found = read_state(context.store, context.spec.name, "prod")
    return found is not None and digest in {
        found.state.champion.digest,
        *(each.digest for each in (found.state.canary, found.state.shadow) if each),
    }
