"""Rivals: what an alarm trains, which of it wins, and how long it is followed up.

After an alarm nobody knows whether the world changed abruptly, so that what is older misleads, or
hardly at all, so that more rows are better. So both are trained: the *sliding window* that every
training uses, and the data *since the alarm* alone. A paired comparison on newest rows that neither
has seen chooses. The loop and the replay call exactly these functions:

1. ``beginning`` finds the first window that was worse; its first row is where the new world begins.
2. ``contest`` splits the labelled rows into the rivals' training rows and one holdout for all.
3. Each candidate is fitted on each rival's rows (``training.fit``, ``training.probabilities``).
4. ``choose`` names the winner; ``promotion.decide`` says whether it may replace the champion.
5. After each later window, ``follow_up`` says whether there is enough more to do 2 to 4 again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, sqrt
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series, concat

from mlops.core import training
from mlops.core.arrays import Floats
from mlops.core.evaluation import contributions
from mlops.core.labels import REQUEST_TIME
from mlops.core.performance import days, design_effect
from mlops.core.schema import Schema
from mlops.core.verdict import Verdict
from mlops.spec import ModelSpec

Name = Literal["sliding window", "since the alarm"]
SLIDING: Name = "sliding window"
SINCE: Name = "since the alarm"

CLASS_ROWS = 10
"""Fewest rows of each class on which a model is trained since an alarm."""
GROWTH = 2.0
"""Rows since the alarm are trained on again when there are so many times as many as the last time: what
a model gains from more rows depends on their ratio, so that the number of trainings is logarithmic, and
doubling keeps the rows of all of them together below twice those of the last."""
CLOSE_FOLLOW_UPS = 3
"""Until an alarm has been followed up so often nothing else is tried: each comes at ``GROWTH`` times the rows
of the one before, so that the first ones are close, and what they gain is the alarm's."""


@dataclass(frozen=True)
class Rival:
    """A training set and what it is called."""

    name: Name
    train: DataFrame


@dataclass(frozen=True)
class Contest:
    """One or two training sets, the sliding window first, and the rows that judge them."""

    rivals: tuple[Rival, ...]
    holdout: DataFrame
    why: str
    """In a sentence, why there are one or two."""


class Progress(msgspec.Struct, frozen=True):
    """How much of what a training could use is new."""

    recent: int
    """Labelled rows since the alarm's onset."""
    older: int
    """Rows of the training window from before it."""
    complete: bool
    """All of the training window is new; without ``training.window_days``, at least half of the rows are."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The winner of a contest, with the reason and the numbers."""

    winner: str
    reason: str
    numbers: dict[str, float] = {}
    """The metric of each, the ``gain`` of the second over the first (above 0: better) and its standard ``error``."""


def onset(worse: Sequence[bool], of: int) -> int:
    """Return which window an alarm begins with: the first worse one of the last ``of``.

    Args:
        worse: for each window of the alarming version, oldest first, whether it alone was worse; the
            last one is the window that alarmed.
        of: windows that the policy of persistence counts (``drift.of``).
    """
    first = max(0, len(worse) - of)
    return next((at for at in range(first, len(worse)) if worse[at]), len(worse) - 1)


def beginning(judged: Sequence[Verdict], of: int) -> int:
    """Return which window an alarm begins with, by verdicts of the alarming version, the alarm's own last.

    That is the first worse one (``onset``), or the first of those that are worse only together.
    """
    if lasting := judged[-1].lasting:
        return [at for at, each in enumerate(judged) if each.tally][-lasting]
    return onset([each.worse for each in judged], of)


def position(frame: DataFrame, moment: datetime, schema: Schema) -> int:
    """Find the first row since a moment, in rows ordered by the model's clock; those without a time are older."""
    times = frame.get(schema.time or REQUEST_TIME)
    return len(frame) if times is None else len(frame) - int((times >= moment).sum())


def contest(frame: DataFrame, onset: int, spec: ModelSpec) -> Contest:
    """Split labelled rows into rivals and their holdout.

    The holdout is the newest share (``training.split.test``) of the rows since the onset, whatever the
    spec's method: they are the world that the model will serve, and an earlier answer to the same alarm
    was not trained on them. No rival sees it. With too few rows
    since the onset (a holdout below ``gates.min_rows``, a class below ``CLASS_ROWS``, a number without
    any value), or none before it in the window, the sliding window is alone and split as in every training.

    Args:
        frame: typed, labelled rows in time order, all that are known now.
        onset: position in ``frame`` of the first row since the onset.
        spec: names the window, the split and the least rows.

    Raises:
        TrainingError: even the sliding window has too few rows to be split.
    """
    window, older, recent = _parts(frame, onset, spec)
    if older.empty:
        return _alone(window, spec, "the whole training window is from after the alarm's onset")
    if lack := _lack(recent, spec):
        return _alone(window, spec, f"the {len(recent)} rows since the alarm's onset are too few alone: {lack}")
    train, holdout = _newest(recent, spec)
    rivals = (Rival(SLIDING, concat([older, train], ignore_index=True)), Rival(SINCE, train))
    return Contest(rivals, holdout, f"{len(train)} rows since the alarm's onset, {len(older)} older ones")


def progress(frame: DataFrame, onset: int, spec: ModelSpec) -> Progress:
    """Say how much of the training window is new; arguments as for ``contest``."""
    _, older, recent = _parts(frame, onset, spec)
    half = spec.training.window_days is None and len(recent) >= len(older)
    return Progress(len(recent), len(older), older.empty or half)


def follow_up(last: Progress, now: Progress) -> bool:
    """Say whether an alarm that was answered is due again.

    It is when the rows since the onset have grown by ``GROWTH`` since the last training for this
    alarm, and once more when the training window is all new for the first time. Then it is over:
    later trainings would slide over data of one world, which no alarm asks for.
    """
    if last.complete:
        return False
    return now.complete or now.recent >= max(1.0, GROWTH * last.recent)


def choose(
    spec: ModelSpec, labels: Sequence[str] | Series, answers: Mapping[str, Floats], holdout: DataFrame | None = None
) -> Choice:
    """Choose between fitted rivals by their answers on the same holdout.

    The first one (the sliding window, which saw more) stands unless another is better by more than a
    standard error of the paired difference: the one-standard-error rule of Breiman et al., *Classification
    and Regression Trees* (1984), with rows as pairs. Rows of one day resemble each other, so that where there
    is a time column days that differ inflate the error. ``training.metric`` is what is compared.

    Args:
        spec: names the metric and the classes.
        labels: true classes of the holdout.
        answers: probabilities [rows, classes] of each rival's best candidate, the sliding window first.
        holdout: its rows in the order of the labels, for their days; none: rows are independent.

    Raises:
        ValueError: there is no rival, shapes differ, or a label is none of the classes.
    """
    if not answers:
        raise ValueError("there is no rival to choose")
    (winner, ours), *others = answers.items()
    choice = Choice(winner=winner, reason=f"{winner}: it has no rival")
    for name, theirs in others:
        choice = _compared(spec, labels, (winner, ours), (name, theirs), days(holdout, spec.data))
        if choice.winner == name:
            winner, ours = name, theirs
    return choice


def _parts(frame: DataFrame, onset: int, spec: ModelSpec) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Cut to the training window; return it, its rows before the onset and those since."""
    window = training.window(frame, spec)
    start = min(len(window), max(0, onset - (len(frame) - len(window))))
    return window, window.iloc[:start], window.iloc[start:]


def _alone(window: DataFrame, spec: ModelSpec, why: str) -> Contest:
    train, holdout = training.split(window, spec)
    return Contest((Rival(SLIDING, train),), holdout, why)


def _newest(recent: DataFrame, spec: ModelSpec) -> tuple[DataFrame, DataFrame]:
    first = len(recent) - ceil(len(recent) * spec.training.split.test)
    return recent.iloc[:first].reset_index(drop=True), recent.iloc[first:].reset_index(drop=True)


def _lack(recent: DataFrame, spec: ModelSpec) -> str:
    """Say what the rows since the onset lack to be a rival; empty when nothing."""
    least = max(1, spec.gates.min_rows)
    train, holdout = _newest(recent, spec)
    if len(holdout) < least:
        return f"{len(holdout)} to hold out, {least} asked (gates.min_rows)"
    counts = train[spec.data.target.name].value_counts()
    for label in spec.data.target.classes:
        if (found := int(counts.get(label, 0))) < CLASS_ROWS:
            return f"{found} of class {label}, {CLASS_ROWS} asked"
    empty = [name for name in spec.data.numbers if train[name].isna().all()]
    return f"no value of {', '.join(empty)}" if empty else ""


def _compared(
    spec: ModelSpec,
    labels: Sequence[str] | Series,
    first: tuple[str, Floats],
    second: tuple[str, Floats],
    clusters: NDArray[np.int64] | None,
) -> Choice:
    metric, classes = spec.training.metric, spec.data.target.classes
    ours, theirs = (contributions(metric, labels, answers, classes) for _, answers in (first, second))
    if ours is None or theirs is None:
        return Choice(winner=first[0], reason=f"{first[0]}: {metric} is undefined, all holdout rows are of one class")
    gain = (ours - theirs) * (1 if metric == "log_loss" else -1)
    inflated = design_effect(gain, clusters)
    error = float(gain.std(ddof=1)) / sqrt(len(gain) / inflated) if len(gain) > 1 else float("inf")
    mean = float(gain.mean())
    winner = second[0] if mean > error else first[0]
    shown = f"{metric} {theirs.mean():.4f} against {ours.mean():.4f} of the {first[0]} on {len(gain)} newest rows"
    margin = f"better by {mean:.4f}" if mean > 0 else f"worse by {-mean:.4f}"
    reason = f"{winner}: {second[0]} has {shown}, {margin}; more than a standard error ({error:.4f}) is asked"
    numbers = {first[0]: float(ours.mean()), second[0]: float(theirs.mean()), "gain": mean, "error": error}
    return Choice(winner=winner, reason=reason, numbers=numbers)
