"""Tasks that refresh: whether it is time to try a fresh model although nothing alarmed."""

import msgspec

from mlops.adapters.ledger import Entry
from mlops.core.outcome import Outcome
from mlops.core.refresh import Attempt, attempt, moved, reason, refresh_due, settled
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.follow_up import FollowUp, closely_followed, outcome_of
from tasks.network import network_task
from tasks.windows import Judged, find_alarm, judged_windows


@network_task("is a refresh due", timeout=300)
def due_refresh(model: str) -> FollowUp | None:
    """Decide once a window whether a fresh model is tried, and write that to the ledger as ``refresh``.

    There is nothing to decide while an alarm, a follow-up or an earlier refresh has no answer yet, or while an
    alarm is closely followed up.
    """
    context = open_model(model)
    history = judged_windows(context)
    if not history or not context.spec.drift.refresh_windows or _asked(context, history[-1]):
        return None
    if closely_followed(context):
        return None
    newest = history[-1]
    since = _since_training(context, history)
    attempts = [_attempt(context, entry) for entry in _refreshed(context)]
    policy = context.spec.drift
    windows = settled([judged.verdict for judged in since])
    due = refresh_due(policy, attempts, windows, newest.verdict)
    name, version = newest.window.name, newest.verdict.version
    decided, new = context.ledger.record(
        "refresh",
        name,
        "due" if due and since else "not due",
        reasons=(reason(policy, attempts, windows),),
        numbers={"onset": since[0].window.name if since else name, "version": version},
        flow_run=current_flow_run(),
    )  # fmt: skip
    return FollowUp(name, name, version) if new and decided.decision == "due" else None


def _asked(context: ModelContext, newest: Judged) -> bool:
    """Whether something is asked for that no retraining has answered."""
    due = [
        *(entry.subject for kind in ("follow_up", "refresh") for entry in context.ledger.decided(kind, "due")),
        *([newest.window.name] if newest.verdict.verdict == "retrain" else []),
    ]
    return any(context.ledger.find("retraining", name) is None for name in due)


def _since_training(context: ModelContext, history: list[Judged]) -> list[Judged]:
    """The windows judged since the newest one that a retraining has answered."""
    answered = {entry.subject for entry in context.ledger.entries("retraining")}
    at = max((at for at, judged in enumerate(history) if judged.window.name in answered), default=-1)
    return history[at + 1 :]


def _refreshed(context: ModelContext) -> list[Entry]:
    """What the retrainings for refreshes came to, oldest first."""
    asked = {entry.subject for entry in context.ledger.decided("refresh", "due")}
    return [entry for entry in context.ledger.entries("retraining") if entry.subject in asked]


def _attempt(context: ModelContext, answer: Entry) -> Attempt:
    """What a refresh gained up to now, by its outcome where that is settled."""
    alarm = find_alarm(context, answer.subject)
    differed = moved(alarm.judged.verdict)
    if answer.decision != "challenger ready":
        return attempt(None, differed)
    version = answer.numbers["version"]
    if any(each.verdict.version == version and each.verdict.verdict == "retrain" for each in judged_windows(context)):
        return Attempt(moved=differed)  # What a sudden change does to both says nothing of what refreshing is worth.
    settled = context.ledger.find("outcome", alarm.name)
    outcome = msgspec.convert(settled.numbers, Outcome) if settled else outcome_of(context, alarm)
    return attempt(outcome, differed)
