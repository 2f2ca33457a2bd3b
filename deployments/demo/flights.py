"""Flights: eight weeks to learn from, then week after week through PROD, watched and retrained."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pandas as pd

from deployments.demo import history, loop, production, runs
from deployments.demo.stage import Stage, prod, serve_all, train_and_validate
from mlops.adapters.datasets import flights_csv, flights_file, flights_weeks
from tasks.context import ModelContext, open_model

MODEL = history.MODEL
LEARNED = range(1, 9)
SENT = range(9, 21)
BATCH = 500


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happened: the weeks, what the automation did about alarms, and whether it helped."""

    weeks: list[history.Week]
    retrainings: list[history.Retraining]
    outcomes: list[history.DidItHelp]


def play(stage: Stage) -> Story:
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
        loop.await_checks(stage)
    with stage.step("flights: did it help?"):
        return Story(
            weeks=[history.week_row(context, week) for week in SENT],
            retrainings=history.retrainings(context),
            outcomes=history.did_it_help(context),
        )


def play_week(stage: Stage, context: ModelContext, week: int, flights: pd.DataFrame) -> None:
    """Send a week to PROD, then its labels, and have it judged; wait for what its alarm or a follow-up starts."""
    name = history.window(week)
    with stage.step(f"flights: week {week}") as notes:
        verdict = context.ledger.find("verdict", name)
        began = verdict.time - timedelta(minutes=5) if verdict else datetime.now(UTC)
        if verdict is None:
            send(context, week, flights)
            verdict = loop.check(stage, context, name, until=history.end(week).isoformat())
        notes.append(f"{len(flights)} flights through version {history.version(verdict)}: {verdict.decision}")
    alarm = history.asked_for(context, verdict)
    if alarm and not history.answered(context, name):
        loop.await_retraining(stage, context, alarm, name, began)


def send(context: ModelContext, week: int, flights: pd.DataFrame) -> None:
    """Post a week's records in batches, then the labels of the flights that arrived."""
    batches = ((_records(context, batch), batch["late"].tolist()) for batch in _batches(flights))
    production.send(context, f"flights-w{week:02}", batches)


def _batches(flights: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for start in range(0, len(flights), BATCH):
        yield flights.iloc[start : start + BATCH]


def _records(context: ModelContext, batch: pd.DataFrame) -> list[dict[str, Any]]:
    """Records as a booking system would send them: no label, null for what is unknown."""
    names = [column.name for column in context.spec.data.columns]
    frame = batch[names].assign(scheduled_departure=batch["scheduled_departure"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    columns = {name: [None if pd.isna(value) else value for value in frame[name].tolist()] for name in names}
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
