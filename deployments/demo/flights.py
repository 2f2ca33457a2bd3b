"""Flights: eight weeks to learn from, then week after week through PROD, watched and retrained."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pandas as pd

from deployments.demo import runs
from deployments.demo.stage import Stage, prod, serve_all, train_and_validate
from mlops.adapters import bundles
from mlops.adapters.datasets import flights_csv, flights_file, flights_weeks, week_start
from mlops.adapters.ledger import Entry
from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.adapters.scoring_client import ScoringClient, read_key
from mlops.adapters.services import key_file
from mlops.core import evaluation, training
from mlops.core.evaluation import Metrics
from mlops.core.labels import with_labels
from tasks.context import ModelContext, open_model

MODEL = "flights"
LEARNED = range(1, 9)
SENT = range(9, 21)
BATCH = 500
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
    event_id: str
    automation_id: str
    flow_run_id: str
    from_version: str
    to_version: str
    seconds_event_to_serving: float


def play(stage: Stage) -> tuple[list[Week], list[Retraining]]:
    """Release the first model, then send the weeks; what an earlier demo did is not done again."""
    context = open_model(MODEL)
    with stage.step("flights: eight weeks of landing files"):
        for week in LEARNED:
            context.store.put(f"{MODEL}/landing/{flights_file(week)}", flights_csv(week))
    if prod(context) is None:
        train_and_validate(stage, MODEL)
        with stage.step("flights: release, by the spec's policy") as notes:
            found = runs.wait_for("the release of flights", lambda: runs.find_run("release", stage.began, model=MODEL))
            done = runs.completed(runs.wait_for("the release of flights", lambda: runs.ended(found.id)))
            notes.append(done.state.message or "" if done.state else "")
    serve_all(context)
    year = flights_weeks()
    for week in SENT:
        play_week(stage, context, week, year[week])
    with stage.step("flights: Evidently's reports on the last weeks"):
        for check in stage.checks:
            runs.completed(runs.wait_for("a drift check to end", partial(runs.ended, check)))
    return [_row(context, week) for week in SENT], _retrainings(context)


def play_week(stage: Stage, context: ModelContext, week: int, flights: pd.DataFrame) -> None:
    """Send a week to PROD, then its labels, and have it judged; wait for what its alarm starts."""
    with stage.step(f"flights: week {week}") as notes:
        verdict = context.ledger.find("verdict", _window(week))
        if verdict is None:
            began = datetime.now(UTC)
            send(context, week, flights)
            verdict = _check(stage, context, week)
        else:
            began = verdict.time - timedelta(minutes=5)
        notes.append(f"{len(flights)} flights through version {_version(verdict)}: {verdict.decision}")
    if verdict.decision == "retrain" and not _answered(context, verdict.subject):
        await_retraining(stage, context, verdict, began)


def _check(stage: Stage, context: ModelContext, week: int) -> Entry:
    """Have a week judged. Its run goes on after the verdict, with Evidently's report; the demo need not wait."""
    check = runs.start("drift_check/drift-check", model=MODEL, until=_end(week).isoformat())
    stage.checks.append(check.id)

    def judged() -> Entry | None:
        over = runs.ended(check.id)  # Asked first: what ended has written its verdict by now.
        verdict = context.ledger.find("verdict", _window(week))
        if verdict is None and over:
            runs.completed(over)
            raise runs.DemoError(f"drift_check gave week {week} no verdict; its run {over.name} in the UI shows why")
        return verdict

    return runs.wait_for(f"the verdict on week {week}", judged)


def send(context: ModelContext, week: int, flights: pd.DataFrame) -> None:
    """Post a week's records in batches, then the labels of the flights that arrived, and wait for the log.

    Request ids are the same in every run of the demo, so a week that was sent twice counts once.
    """
    key = read_key(key_file(context.settings, MODEL, "prod"))
    service = context.services.describe(MODEL, "prod")
    sent: set[str] = set()
    labels: list[dict[str, str]] = []
    with ScoringClient(service.url, key) as client:
        for number, batch in enumerate(_batches(flights)):
            request_id = f"flights-w{week:02}-{number:03}"
            client.score(_records(context, batch), request_id).raise_for_status()
            ids = [f"{request_id}.{row}" for row in range(len(batch))]
            sent.update(ids)
            labels += [{"request_id": i, "label": label} for i, label in zip(ids, batch["late"], strict=True) if label]
        client.feedback(labels).raise_for_status()
    labelled = {label["request_id"] for label in labels}
    today = (datetime.now(UTC) - timedelta(days=1)).date()

    def logged() -> bool | None:
        scored = set(read_predictions(context.store, MODEL, "prod", today)["_request_id"].to_pylist())
        told = set(read_feedback(context.store, MODEL, today)["_request_id"].to_pylist())
        return (sent <= scored and labelled <= told) or None

    runs.wait_for(f"the predictions of week {week} in the log", logged, timeout=60)


def await_retraining(stage: Stage, context: ModelContext, verdict: Entry, began: datetime) -> None:
    """Wait for the run that the automation starts, and for its version in PROD."""
    before = prod(context)
    with stage.step(f"flights: the automation retrains on {verdict.subject}") as notes:
        found = runs.wait_for(
            "the automation to start a retraining",
            lambda: runs.find_run("retraining", began, model=MODEL, alarm=verdict.subject),
            timeout=90,
        )
        done = runs.completed(runs.wait_for("the retraining", lambda: runs.ended(found.id)))
        notes.append(done.state.message or "" if done.state else "")
    answer = context.ledger.find("retraining", verdict.subject)
    if answer is None or answer.decision != "challenger ready":
        return
    with stage.step("flights: release of the new version") as notes:

        def serving() -> str | None:
            now = prod(context)
            changed = now is not None and (before is None or now.state.champion != before.state.champion)
            return (
                now.state.champion.version
                if now and changed and _release(context, now.state.champion.version)
                else None
            )

        notes.append(f"version {runs.wait_for('the new version in PROD', serving)} answers in PROD")


def _batches(flights: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(flights), BATCH):
        yield flights.iloc[start : start + BATCH]


def _records(context: ModelContext, batch: pd.DataFrame) -> list[dict[str, Any]]:
    """Records as a booking system would send them: no label, null for what is unknown."""
    names = [column.name for column in context.spec.data.columns]
    frame = batch[names].assign(scheduled_departure=batch["scheduled_departure"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    columns = {name: [None if pd.isna(value) else value for value in frame[name].tolist()] for name in names}
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _start(week: int) -> datetime:
    # Windows have a fixed length: the clocks' change moves no boundary, and no flight departs after midnight.
    first = datetime.combine(week_start(LEARNED[0]), time(), NEW_YORK).astimezone(UTC)
    return first + timedelta(weeks=week - 1)


def _end(week: int) -> datetime:
    return _start(week + 1)


def _window(week: int) -> str:
    return f"prod-{_start(week):%Y-%m-%dT%H%M}"


def _version(verdict: Entry) -> str:
    return str(verdict.numbers["verdict"]["version"])


def _answered(context: ModelContext, alarm: str) -> bool:
    answer = context.ledger.find("retraining", alarm)
    return answer is not None and (
        answer.decision != "challenger ready" or _release(context, answer.numbers["version"]) is not None
    )


def _release(context: ModelContext, version: str) -> Entry | None:
    """The newest release of a version, once it is in PROD."""
    ended = context.ledger.newest("release", version=version)
    return ended if ended and ended.decision == "released" else None


def _row(context: ModelContext, week: int) -> Week:
    verdict = context.ledger.find("verdict", _window(week))
    if verdict is None:
        raise runs.DemoError(f"the ledger holds no verdict for week {week}")
    rows = _labelled(context, week)
    released = [entry for entry in context.ledger.entries("release") if entry.decision == "released"]
    first = bundles.load(context.store, MODEL, released[0].numbers["digest"], "model.onnx")["model.onnx"]
    data = context.spec.data
    placed = _metrics(context, rows, pd.DataFrame(rows["_probabilities"].tolist()).to_numpy())
    frozen = _metrics(context, rows, training.onnx_probabilities(first, rows, data))
    return Week(
        week=week,
        rows=int(verdict.numbers["verdict"]["rows"]),
        verdict=verdict.decision,
        reasons=verdict.reasons,
        version=_version(verdict),
        auc=placed.roc_auc,
        log_loss=placed.log_loss,
        frozen_auc=frozen.roc_auc,
        frozen_log_loss=frozen.log_loss,
    )


def _labelled(context: ModelContext, week: int) -> pd.DataFrame:
    """The week's flights that arrived, as PROD answered them."""
    predictions = read_predictions(context.store, MODEL, "prod").to_pandas()
    start, end = _start(week), _end(week)
    inside = (predictions["scheduled_departure"] >= start) & (predictions["scheduled_departure"] < end)
    joined = with_labels(predictions[inside], read_feedback(context.store, MODEL).to_pandas(), context.spec.data)
    return joined[joined[context.spec.data.target.name].notna()].reset_index(drop=True)


def _metrics(context: ModelContext, rows: pd.DataFrame, probabilities: Any) -> Metrics:
    target = context.spec.data.target
    return evaluation.evaluate(rows[target.name], probabilities, target.classes)


def _retrainings(context: ModelContext) -> list[Retraining]:
    """Each answered alarm whose version was released, from the ledger and Prefect's history."""
    found = []
    for answer in context.ledger.entries("retraining"):
        verdict = context.ledger.find("verdict", answer.subject)
        release = _release(context, answer.numbers["version"])
        event = runs.find_event("mlops.drift.detected", MODEL, answer.time - timedelta(hours=1), alarm=answer.subject)
        if verdict is None or release is None or event is None:
            continue
        creator = runs.read_run(UUID(answer.flow_run)).created_by
        occurred = datetime.fromisoformat(event["occurred"])
        found.append(
            Retraining(
                alarm=answer.subject,
                event_id=event["id"],
                automation_id=str(creator.id) if creator and creator.type == "AUTOMATION" else "",
                flow_run_id=answer.flow_run,
                from_version=_version(verdict),
                to_version=answer.numbers["version"],
                seconds_event_to_serving=round((release.time - occurred).total_seconds(), 1),
            )
        )
    return found
