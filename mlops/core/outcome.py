"""The outcome of a retraining: loss before, loss after, and what the old model would have had on the same rows.

The old and the new model are compared row by row on windows that neither was trained on when they
were answered. Rows of one day are alike, so the interval counts blocks of consecutive rows and not
rows (the method of batch means; Schmeiser, *Batch size effects in the analysis of simulation output*,
Operations Research 30, 1982).
"""

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import msgspec
import numpy as np
from pandas import Series

from mlops.core.arrays import Floats
from mlops.core.evaluation import losses

Effect = Literal["helped", "no difference", "harmed", "nothing changed"]

TOLERANCE = 0.005
"""A loss that is higher by no more than this share is as good: what gains less is not worth its cost."""
BLOCKS = 20
"""Blocks of consecutive rows; with fewer rows than twice as many there is no interval."""
T95 = 2.093
"""Student's t, two-sided 95 %, 19 degrees of freedom."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a retraining helped; losses are log losses in nats a row."""

    decision: Effect
    rows: int
    before: float | None
    """Of the old model in the windows that alarmed."""
    after: float | None = None
    """Of what answered since the release."""
    without: float | None = None
    """Of the old model on the same rows."""
    gain: float | None = None
    """``without`` less ``after``: above 0 the retraining helped."""
    low: float | None = None
    high: float | None = None
    """95 % interval of the gain."""

    @property
    def error(self) -> float | None:
        """Standard error of the gain."""
        return None if self.low is None or self.high is None else (self.high - self.low) / (2 * T95)

    @property
    def alarm_true(self) -> bool:
        """Whether the alarm was worth it: a better model was to be had."""
        return self.decision == "helped"


def measure(
    labels: Sequence[str] | Series,
    placed: Floats,
    old: Floats,
    classes: Sequence[str],
    before: float | None,
) -> Outcome:
    """Compare what answered with what the old model would have answered.

    Args:
        labels: true classes of rows answered since the release, in time order.
        placed: the answers [rows, classes].
        old: the old model's probabilities for the same rows.
        classes: the target's classes.
        before: the old model's loss in the windows that alarmed.

    Raises:
        ValueError: shapes differ, or a label is none of the classes.
    """
    if not len(placed):
        return Outcome(decision="nothing changed", rows=0, before=before)
    after, without = losses(labels, placed, classes), losses(labels, old, classes)
    gains = without - after
    gain, half = float(gains.mean()), _half_width(gains)
    return Outcome(
        decision="helped" if gain > half else "harmed" if gain < -half else "no difference",
        rows=len(gains),
        before=before,
        after=float(after.mean()),
        without=float(without.mean()),
        gain=gain,
        low=gain - half if np.isfinite(half) else None,
        high=gain + half if np.isfinite(half) else None,
    )


def reason(outcome: Outcome) -> str:
    """Say an outcome in a sentence."""
    if outcome.after is None or outcome.without is None or outcome.gain is None:
        return "No newer model has answered rows with labels, so nothing changed."
    change = {
        "helped": "The retraining helped",
        "harmed": "The retraining harmed",
        "no difference": "The retraining made no difference beyond chance",
        "nothing changed": "Nothing changed",
    }[outcome.decision]
    interval = (
        "too few rows for an interval"
        if outcome.low is None
        else f"95 % interval [{outcome.low:+.4f}, {outcome.high:+.4f}]"
    )
    return (
        f"{change}: on {outcome.rows} rows since the release the log loss is {outcome.after:.4f}, where the old model"
        f" would have had {outcome.without:.4f}; gain {outcome.gain:+.4f} a row ({interval})."
    )


def markdown(
    outcome: Outcome, title: str, facts: Sequence[tuple[str, str]], notes: Sequence[str] = (), *, alarmed: bool = True
) -> str:
    """Write an outcome as a page that needs no statistics to read.

    Args:
        outcome: what was measured.
        title: of the page.
        facts: rows of the table beside the losses, as name and value.
        notes: paragraphs below.
        alarmed: whether an alarm asked for the retraining, which is true or false by its outcome.
    """
    verdict = {
        "helped": "Yes, it helped." + " The alarm was true." * alarmed,
        "harmed": "No, it made things worse." + " The alarm was false." * alarmed,
        "no difference": "It made no difference that is beyond chance." + " The alarm counts as false." * alarmed,
        "nothing changed": "Nothing changed: no better model was found, or none has answered yet.",
    }[outcome.decision]
    rows = [
        ("log loss of the old model, before", _number(outcome.before)),
        ("log loss since the release, new model", _number(outcome.after)),
        ("log loss since the release, had the old model stayed", _number(outcome.without)),
        ("gain a row (above 0: better)", _number(outcome.gain)),
        ("95 % interval of the gain", f"{_number(outcome.low)} to {_number(outcome.high)}"),
        ("rows measured", str(outcome.rows)),
        *facts,
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    explained = (
        "Log loss is the price of the model's probabilities: 0 for being sure and right, more the surer and wronger."
    )
    return "\n\n".join(
        [
            f"# Did it help? {title}",
            f"**{verdict}**",
            reason(outcome),
            f"| | |\n| --- | --- |\n{table}",
            explained,
            *notes,
        ]
    )


def _half_width(gains: Floats) -> float:
    if len(gains) < 2 * BLOCKS:
        return float("inf")
    means = np.array([block.mean() for block in np.array_split(gains, BLOCKS)])
    return T95 * float(means.std(ddof=1)) / sqrt(BLOCKS)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
