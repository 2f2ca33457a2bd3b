"""Iris whose flowers change: PROD is wrong about them, and the loop answers that by itself.

The change is made up, since iris has no date: the petals of the species 1 and 2 are 1.2 cm longer and 0.6 cm wider,
as those of another sort might be, so that 1 looks as 2 did. Records and labels go through PROD's HTTP endpoint.
"""

from datetime import timedelta

import msgspec
import numpy as np
import pandas as pd

from deployments.demo import history, iris, loop, production, runs
from deployments.demo.stage import Stage
from mlops.adapters.datasets import iris_csv
from mlops.adapters.ledger import Entry
from mlops.core.quality import check, read_csv
from tasks.context import ModelContext, open_model
from tasks.windows import judged_rows, judged_windows

MODEL = iris.MODEL
CHANGE = {"PetalLengthCm": 1.2, "PetalWidthCm": 0.6}
UNCHANGED = "0"
"""The species that grows as before."""
NOISE = 0.03
"""Standard deviation, in cm: no two windows are copies."""
KINDS = ("verdict", "retraining", "gate", "approval", "release", "outcome")
"""Decisions of the ledger that tell why PROD answers as it does."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A window of changed flowers and what PROD made of it."""

    window: str
    rows: int
    version: str
    right: float
    """Share of flowers whose species PROD named."""
    verdict: str
    reasons: tuple[str, ...]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happened: the windows, what the automation did about the alarm, and why, by the ledger."""

    windows: list[Window]
    retrainings: list[history.Retraining]
    outcomes: list[history.DidItHelp]
    ledger: list[Entry]


def play(stage: Stage) -> Story:
    """Send two windows of changed flowers, wait for the version that learns them, and send it a third.

    Raises:
        DemoError: the second window's verdict is not ``retrain``.
    """
    context = open_model(MODEL)
    first, second, third = (f"prod-rows-{number:06d}" for number in (1, 2, 3))
    began = stage.began
    with stage.step("iris: its flowers change") as notes:
        verdict = context.ledger.find("verdict", second)
        if verdict is None:
            for number in (1, 2):
                _send(context, number)
            verdict = loop.check(stage, context, second)
        else:
            began = verdict.time - timedelta(minutes=5)
        notes.append(f"{verdict.decision}: {verdict.reasons[0]}")
    if verdict.decision != "retrain":
        raise runs.DemoError(f"the verdict on {second} is {verdict.decision}: {' '.join(verdict.reasons)}")
    if not history.answered(context, second):
        loop.await_retraining(
            stage, context, second, second, began, lambda version: iris.approve_release(stage, began, version)
        )
    with stage.step("iris: the same flowers through the new version") as notes:
        verdict = context.ledger.find("verdict", third)
        if verdict is None:
            _send(context, 3)
            verdict = loop.check(stage, context, third)
        notes.append(f"{verdict.decision}: {verdict.reasons[0]}")
    with stage.step("iris: Evidently's reports, and whether it helped"):
        loop.await_checks(stage)
        return Story(
            windows=[_window(context, name) for name in (first, second, third)],
            retrainings=history.retrainings(context),
            outcomes=history.did_it_help(context),
            ledger=[entry for entry in context.ledger.entries() if entry.kind in KINDS],
        )


def flowers(context: ModelContext, number: int) -> pd.DataFrame:
    """A window of changed flowers with their species, the same ones for a number in every run."""
    data = context.spec.data
    rows = check(read_csv(iris_csv(), "iris.csv"), data, "iris.csv").good
    random = np.random.default_rng(number)
    size = context.spec.drift.window_rows or len(rows)
    chosen = rows.iloc[random.permutation(np.arange(size) % len(rows))].reset_index(drop=True)
    names = [column.name for column in data.columns]
    changed = chosen[names] + random.normal(0, NOISE, (size, len(names)))
    others = chosen[data.target.name] != UNCHANGED
    for name, more in CHANGE.items():
        changed[name] += more * others
    return changed.round(2).clip(lower=0.1).assign(**{data.target.name: chosen[data.target.name]})


def _send(context: ModelContext, number: int) -> None:
    """Send a window through PROD's endpoint, with its labels."""
    frame, target = flowers(context, number), context.spec.data.target.name
    names = list(frame.columns.drop(target))
    records = [dict(zip(names, row, strict=True)) for row in frame[names].to_numpy().tolist()]
    production.send(context, f"changed-{number}", [(records, frame[target].tolist())])


def _window(context: ModelContext, name: str) -> Window:
    judged = next((each for each in judged_windows(context) if each.window.name == name), None)
    if judged is None:
        raise runs.DemoError(f"the ledger holds no verdict for window {name} of {MODEL}")
    rows = judged_rows(context, [judged])
    right = (rows["_predicted"].astype(str) == rows[context.spec.data.target.name].astype(str)).mean()
    given = judged.verdict
    return Window(
        window=name,
        rows=given.rows,
        version=given.version,
        right=float(right),
        verdict=given.verdict,
        reasons=given.reasons,
    )
