"""Tasks that follow an alarm up: whether it is time to train again, and whether it helped."""

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
from prefect.artifacts import create_markdown_artifact

from mlops.adapters.ledger import Entry
from mlops.core import outcome as outcomes
from mlops.core import rivals, windows
from mlops.core.labels import labelled_rows
from mlops.core.outcome import Outcome
from mlops.core.rivals import Progress
from tasks.bundles import served_answers
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import network_task
from tasks.windows import (
    Judged,
    Occasion,
    answered_rows,
    asked,
    due_windows,
    judged_rows,
    judged_windows,
    logged_answers,
    newest_alarm,
    retrainings_for,
)

if TYPE_CHECKING:
    import pandas as pd


class FollowUp(msgspec.Struct, frozen=True):
    """An alarm that is to be answered again at a later window."""

    alarm: str
    window: str
    version: str


@network_task("is a follow-up due", timeout=300)
def due_follow_up(model: str) -> FollowUp | None:
    """Decide once a window whether the newest alarm is to be answered again, and write that to the ledger.

    There is nothing to decide while the last answer is not there yet, or once the training window was all new.
    """
    context = open_model(model)
    alarm = newest_alarm(context)
    given = retrainings_for(context, alarm.name) if alarm else []
    if alarm is None or not given or _over(given) or _waiting(context, alarm):
        return None
    newest = judged_windows(context)[-1]
    name, version = newest.window.name, newest.verdict.version
    if name in {entry.subject for entry in given} or context.ledger.find("follow_up", name):
        return None
    last, now = msgspec.convert(given[-1].numbers["progress"], Progress), _progress(context, alarm)
    share = "all" if now.complete else f"{now.recent / max(1, now.recent + now.older):.0%}"
    decided, new = context.ledger.record(
        "follow_up",
        name,
        "due" if rivals.follow_up(last, now) else "not due",
        reasons=(f"{now.recent} labelled rows since the onset of {alarm.name}, {last.recent} at the last training;"
                 f" {share} of the training window is new",),
        numbers={"alarm": alarm.name, "progress": msgspec.to_builtins(now), "version": version},
        flow_run=current_flow_run(),
    )  # fmt: skip
    return FollowUp(alarm.name, name, version) if new and decided.decision == "due" else None


def closely_followed(context: ModelContext) -> bool:
    """Whether the newest alarm's first follow-ups are still to come; until then no refresh is tried."""
    alarm = newest_alarm(context)
    given = retrainings_for(context, alarm.name) if alarm else []
    return bool(given) and len(given) <= rivals.CLOSE_FOLLOW_UPS and not _over(given)


@network_task("did it help", timeout=600)
def measure_outcomes(model: str) -> list[str]:
    """Measure what each answered alarm or refresh came to and show it; write it to the ledger once it is settled.

    An alarm is settled when it is no longer followed up, or a newer one has taken its place; a refresh, when
    anything newer asks for a retraining; both once windows since the release are judged. Returns those that
    were settled now.
    """
    context = open_model(model)
    found, settled = asked(context), []
    for alarm in found:
        given = retrainings_for(context, alarm.name)
        if not given or context.ledger.find("outcome", alarm.name):
            continue
        measured = outcome_of(context, alarm)
        peers = found if alarm.refresh else [each for each in found if not each.refresh]
        over = _over(given, superseded=alarm.name != peers[-1].name)
        settles = over and (measured.rows > 0 or not _released(context, given))
        _publish(context, alarm, measured, given, settles)
        if settles:
            _record(context, alarm, measured)
            settled.append(alarm.name)
    return settled


def outcome_of(context: ModelContext, alarm: Occasion) -> Outcome:
    """Compare the answers since an alarm that its versions gave with those of the version before them.

    What the next alarm's versions answer is that alarm's outcome.
    """
    history = judged_windows(context)
    at = next(at for at, judged in enumerate(history) if judged.window.name == alarm.name)
    made = {entry.numbers["version"] for entry in retrainings_for(context, alarm.name)}
    rows = _labelled(context, [judged for judged in history[at + 1 :] if judged.verdict.version in made])
    target, placed = context.spec.data.target, logged_answers(rows)
    old = served_answers(context, alarm.judged.digest, rows) if len(rows) else placed
    return outcomes.measure(rows[target.name], placed, old, target.classes, _before(alarm, history[: at + 1]))


def _waiting(context: ModelContext, alarm: Occasion) -> bool:
    """Whether a follow-up that was due has no answer yet."""
    return any(context.ledger.find("retraining", entry.subject) is None for entry in due_windows(context, alarm))


def _progress(context: ModelContext, alarm: Occasion) -> Progress:
    """How much is new, with the labels that no ingestion has read yet."""
    import pandas as pd

    from mlops.adapters.snapshots import in_order

    spec, snapshot = context.spec, context.snapshots.latest()
    since = (alarm.onset.requested - timedelta(days=1)).date()
    frames = [labelled_rows(answered_rows(context, since), spec.data)]
    if snapshot:
        frames.insert(0, context.snapshots.rows(snapshot, spec.data, spec.training.window_days))
    frame = in_order(pd.concat(frames, ignore_index=True), spec.data)
    return rivals.progress(frame, rivals.position(frame, alarm.moment, spec.data), spec)


def _over(given: list[Entry], superseded: bool = False) -> bool:
    """Whether an alarm with these retrainings is no longer followed up."""
    last = given[-1]
    complete = last.decision == "given up" or msgspec.convert(last.numbers["progress"], Progress).complete
    return complete or superseded


def _released(context: ModelContext, given: list[Entry]) -> bool:
    """Whether a version that the alarm led to has reached PROD."""
    made = {entry.numbers["version"] for entry in given}
    return any(entry.numbers["version"] in made for entry in context.ledger.decided("release", "released"))


def _labelled(context: ModelContext, chosen: list[Judged]) -> "pd.DataFrame":
    """The labelled rows of windows, in time order."""
    schema = context.spec.data
    found = judged_rows(context, chosen)
    known = found[schema.target.name].isin(schema.target.classes)
    return found[known].sort_values(windows.clock(schema), kind="stable").reset_index(drop=True)


def _before(alarm: Occasion, history: list[Judged]) -> float | None:
    """The old model's loss from the onset to the alarm, over labelled rows."""
    losses = [
        (judged.verdict.numbers.get("log_loss"), judged.verdict.labelled)
        for judged in history[history.index(alarm.onset) :]
        if judged.verdict.version == alarm.judged.verdict.version
    ]
    known = [(loss, rows) for loss, rows in losses if loss is not None]
    total = sum(rows for _, rows in known)
    return sum(loss * rows for loss, rows in known) / total if total else None


def _publish(context: ModelContext, alarm: Occasion, measured: Outcome, given: list[Entry], over: bool) -> None:
    model = context.spec.name
    asks = "refresh" if alarm.refresh else "alarm"
    facts = [
        (asks, alarm.name),
        ("windows since the last training, from" if alarm.refresh else "the loss began in", alarm.onset.window.name),
        ("old model", f"version {alarm.judged.verdict.version}"),
    ]
    done = "\n".join(["## What was done", "", *(f"- after {entry.subject}: {_answer(entry)}" for entry in given)])
    note = "This is settled." if over else "So far: this page changes with each window, until this is settled."
    create_markdown_artifact(
        key=f"{model}-outcome",
        description=f"{alarm.name}: {measured.decision}{'' if over else ' so far'}",
        markdown=outcomes.markdown(
            measured, f"{model}, {asks} {alarm.name}", facts, [done, note], alarmed=not alarm.refresh
        ),
    )


def _answer(entry: Entry) -> str:
    version = entry.numbers.get("version")
    trained_on = {rivals.SLIDING: "the sliding window", rivals.SINCE: "the data since the alarm alone"}
    trained = f"version {version}, trained on {trained_on[entry.numbers['rival']]}" if version else "no version"
    return f"{trained}: {entry.decision}"


def _record(context: ModelContext, alarm: Occasion, measured: Outcome) -> None:
    context.ledger.record(
        "outcome",
        alarm.name,
        measured.decision,
        reasons=(outcomes.reason(measured),),
        # Nothing alarmed before a refresh, so nothing is marked true or false.
        numbers={**msgspec.to_builtins(measured), "alarm_true": None if alarm.refresh else measured.alarm_true},
        flow_run=current_flow_run(),
    )
