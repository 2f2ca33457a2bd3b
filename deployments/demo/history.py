"""What the demo's weeks came to, read from the store, the ledger and Prefect's history."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pandas as pd

from deployments.demo import runs
from mlops.adapters import bundles
from mlops.adapters.datasets import week_start
from mlops.adapters.ledger import Entry
from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.core import evaluation, training
from mlops.core.evaluation import Metrics
from mlops.core.labels import with_labels
from mlops.core.outcome import reason
from tasks.context import ModelContext
from tasks.events import DRIFT_DETECTED, RETRAINING_DUE
from tasks.follow_up import outcome_of
from tasks.windows import asked

MODEL = "flights"
NEW_YORK = ZoneInfo("America/New_York")


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """A week's row of the demo's table; the frozen model is the first one released."""

    week: int
    rows: int
    verdict: str
    reasons: tuple[str, ...]
    version: str
    auc: float | None
    log_loss: float
    frozen_auc: float | None
    frozen_log_loss: float


class Retraining(msgspec.Struct, frozen=True, kw_only=True):
    """What an alarm led to, as Prefect and the ledger tell it."""

    alarm: str
    window: str
    """The alarm's own, or the later one of a follow-up."""
    rival: str
    """What the version was trained on."""
    event_id: str
    automation_id: str
    flow_run_id: str
    from_version: str
    to_version: str
    seconds_event_to_serving: float


class DidItHelp(msgspec.Struct, frozen=True, kw_only=True):
    """What an alarm or a refresh came to: measured so far, or settled and then in the ledger."""

    alarm: str
    """The window that asked for a retraining."""
    asked_by: str
    """``alarm``, or ``refresh`` where nothing alarmed."""
    decision: str
    alarm_true: bool | None
    """None while the alarm is followed up, and for a refresh."""
    reason: str


def start(week: int) -> datetime:
    """The first moment of a week's window."""
    # Windows have a fixed length: the clocks' change moves no boundary, and no flight departs after midnight.
    first = datetime.combine(week_start(1), time(), NEW_YORK).astimezone(UTC)
    return first + timedelta(weeks=week - 1)


def end(week: int) -> datetime:
    """The first moment after a week's window."""
    return start(week + 1)


def window(week: int) -> str:
    """The name of a week's window in the ledger."""
    return f"prod-{start(week):%Y-%m-%dT%H%M}"


def version(verdict: Entry) -> str:
    """The version that a verdict is about."""
    return str(verdict.numbers["verdict"]["version"])


def answered(context: ModelContext, asked: str) -> bool:
    """Whether a window that asked for a retraining has its answer, in PROD if there is anything to release."""
    answer = context.ledger.find("retraining", asked)
    return answer is not None and (
        answer.decision != "challenger ready" or release(context, answer.numbers["version"]) is not None
    )


def asked_for(context: ModelContext, verdict: Entry) -> str | None:
    """The alarm that a judged window has a retraining for: its own, an earlier one that it follows up, a refresh."""
    if verdict.decision == "retrain" or _due(context, "refresh", verdict.subject):
        return verdict.subject
    follow_up = _due(context, "follow_up", verdict.subject)
    return str(follow_up.numbers["alarm"]) if follow_up else None


def decided(context: ModelContext, verdict: Entry) -> bool:
    """Whether the check of a window has decided what follows: a refresh is the last thing that it asks about."""
    return asked_for(context, verdict) is not None or context.ledger.find("refresh", verdict.subject) is not None


def _due(context: ModelContext, kind: str, name: str) -> Entry | None:
    found = context.ledger.find(kind, name)
    return found if found and found.decision == "due" else None


def release(context: ModelContext, version: str) -> Entry | None:
    """The newest release of a version, once it is in PROD."""
    ended = context.ledger.newest("release", version=version)
    return ended if ended and ended.decision == "released" else None


def week_row(context: ModelContext, week: int) -> Week:
    """A week's row: its verdict, and the model in place beside the first one frozen."""
    verdict = context.ledger.find("verdict", window(week))
    if verdict is None:
        raise runs.DemoError(f"the ledger holds no verdict for week {week}")
    rows = _labelled(context, week)
    released = context.ledger.decided("release", "released")
    first = bundles.read(context.store, MODEL, released[0].numbers["digest"], "model.onnx")
    data = context.spec.data
    placed = _metrics(context, rows, pd.DataFrame(rows["_probabilities"].tolist()).to_numpy())
    frozen = _metrics(context, rows, training.onnx_probabilities(first, rows, data))
    return Week(
        week=week,
        rows=int(verdict.numbers["verdict"]["rows"]),
        verdict=verdict.decision,
        reasons=verdict.reasons,
        version=version(verdict),
        auc=placed.roc_auc,
        log_loss=placed.log_loss,
        frozen_auc=frozen.roc_auc,
        frozen_log_loss=frozen.log_loss,
    )


def _labelled(context: ModelContext, week: int) -> pd.DataFrame:
    """The week's flights that arrived, as PROD answered them."""
    predictions = read_predictions(context.store, MODEL, "prod").to_pandas()
    departures = predictions["scheduled_departure"]
    inside = (departures >= start(week)) & (departures < end(week))
    joined = with_labels(predictions[inside], read_feedback(context.store, MODEL).to_pandas(), context.spec.data)
    return joined[joined[context.spec.data.target.name].notna()].reset_index(drop=True)


def _metrics(context: ModelContext, rows: pd.DataFrame, probabilities: Any) -> Metrics:
    target = context.spec.data.target
    return evaluation.evaluate(rows[target.name], probabilities, target.classes)


def retrainings(context: ModelContext) -> list[Retraining]:
    """Each answered window whose version was released, from the ledger and Prefect's history, oldest first."""
    found = []
    for answer in context.ledger.entries("retraining"):
        verdict = context.ledger.find("verdict", answer.subject)
        released = release(context, answer.numbers["version"])
        since = answer.time - timedelta(hours=1)
        if verdict is None or released is None:
            continue
        detected = verdict.decision == "retrain" and answer.subject == answer.numbers["alarm"]
        name = DRIFT_DETECTED if detected else RETRAINING_DUE
        event = runs.find_event(name, context.spec.name, since, window=answer.subject)
        if event is None:
            continue
        creator = runs.read_run(UUID(answer.flow_run)).created_by
        occurred = datetime.fromisoformat(event["occurred"])
        found.append(
            Retraining(
                alarm=answer.numbers["alarm"],
                window=answer.subject,
                rival=answer.numbers["rival"],
                event_id=event["id"],
                automation_id=str(creator.id) if creator and creator.type == "AUTOMATION" else "",
                flow_run_id=answer.flow_run,
                from_version=version(verdict),
                to_version=answer.numbers["version"],
                seconds_event_to_serving=round((released.time - occurred).total_seconds(), 1),
            )
        )
    return found


def did_it_help(context: ModelContext) -> list[DidItHelp]:
    """What each alarm and refresh came to by now; those that are not settled say so."""
    found = []
    for alarm in asked(context):
        settled = context.ledger.find("outcome", alarm.name)
        measured = outcome_of(context, alarm)
        found.append(
            DidItHelp(
                alarm=alarm.name,
                asked_by="refresh" if alarm.refresh else "alarm",
                decision=settled.decision if settled else f"{measured.decision} so far",
                alarm_true=settled.numbers["alarm_true"] if settled else None,
                reason=settled.reasons[0] if settled else reason(measured),
            )
        )
    return found
