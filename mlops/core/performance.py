"""Tests of a model against its labels: loss, accuracy and residuals, over all rows and slice by slice.

Every measure is what was observed less what the model's own probabilities expect, so that its mean is
zero for a calibrated model whatever the inputs. The window's mean is compared with the holdout's,
which carries the model's usual miscalibration. Rows of one day resemble each other; where there is a
time column, days that differ inflate the variance (a cluster-robust one, Liang and Zeger, 1986).
"""

from collections.abc import Iterable
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from mlops.core.across import row_argmax, row_max, row_sum
from mlops.core.arrays import Counts, Floats
from mlops.core.evaluation import CLIP
from mlops.core.findings import Finding, Kind
from mlops.core.schema import Schema
from mlops.core.slices import Slices
from mlops.core.two_sample import Moments, moments

if TYPE_CHECKING:
    from mlops.core.profile import Holdout

MIN_DAYS = 3
"""Fewer days tell nothing about how days differ."""
MIN_SLICE = 30
"""Labelled rows below which a slice is not tested."""
ACCURACY_FLOOR = 0.03
"""Smallest accuracy lost, beyond what the probabilities expect, that matters."""
COST_FLOOR = 0.005
"""Smallest cost, in nats a row of the window, that is worth a look."""
NOISE = 0.1
"""Share of labels drawn at random that ``surprise`` looks for."""
LOSS, ACCURACY, SURPRISE, RESIDUAL = 0, 1, 2, 3


class Budget(NamedTuple):
    """Chance of a false alarm of each test of labels; residuals, slices and windows together share theirs."""

    loss: float
    accuracy: float
    surprise: float
    residual: float
    slices: float
    together: float


class Measured(NamedTuple):
    """The labelled rows of a window."""

    values: Floats
    """Of ``measures``, [rows, measures]."""
    probabilities: Floats
    slices: Slices
    sliced: Counts
    """Positions of the rows that ``slices`` is about."""
    clusters: Counts | None


def measures(truth: Counts, probabilities: Floats) -> Floats:
    """Observed less expected, a row each: log loss, missing accuracy, surprise, and residuals of the classes.

    Surprise is the likelihood ratio of labels of which some were drawn at random: it weighs mistakes where
    the model was sure, as the loss does, but no single one of them counts for many.

    Args:
        truth: positions of the true classes [rows].
        probabilities: the model's answers [rows, classes].

    Returns:
        [rows, 3 + residuals]: one residual for two classes (the second one's), else one a class.
    """
    rows = np.arange(len(truth))
    clipped = np.clip(probabilities, CLIP, 1.0)
    logs = np.log(clipped)
    loss = -logs[rows, truth] + row_sum(clipped * logs)
    correct = row_argmax(probabilities) == truth
    # How much likelier each class becomes when a share of the labels is drawn at random.
    gain = np.log((1 - NOISE) + NOISE / clipped.shape[1] / clipped)
    surprise = gain[rows, truth] - row_sum(clipped * gain)
    residuals = -probabilities.astype(np.float64)
    residuals[rows, truth] += 1
    kept = residuals[:, 1:] if probabilities.shape[1] == 2 else residuals
    return np.column_stack([loss, row_max(probabilities) - correct, surprise, kept])


def truth_codes(labels: pd.Series, schema: Schema) -> Counts:
    """Number labels by the target's classes; they must all be such."""
    return np.asarray(labels.map({name: code for code, name in enumerate(schema.target.classes)}), dtype=np.int64)


def days(frame: pd.DataFrame | None, schema: Schema) -> Counts | None:
    """The day of each row, as a number; None without a time column that tells enough days."""
    if frame is None or schema.time is None or schema.time not in frame:
        return None
    times = pd.to_datetime(frame[schema.time], errors="coerce", utc=True)
    codes, found = pd.factorize(times.dt.floor("D"))
    return np.asarray(codes, dtype=np.int64) if len(found) >= MIN_DAYS else None


def design_effect(values: Floats, clusters: Counts | None) -> float:
    """By how much the variance of a mean exceeds that of independent rows, given clusters; at least 1.

    The cluster-robust variance of a mean with the correction G/(G-1), over the variance of independent rows.
    """
    if clusters is None or len(values) < 2:
        return 1.0
    centred = values - values.mean()
    totals = np.bincount(clusters[clusters >= 0], weights=centred[clusters >= 0])
    groups = len(np.unique(clusters))
    own = float((centred**2).sum())
    return max(1.0, float((totals**2).sum()) / own * groups / max(1, groups - 1)) if own > 0 else 1.0


def compare_labels(
    holdout: "Holdout", measured: Measured, schema: Schema, budget: Budget
) -> tuple[tuple[Finding, ...], dict[str, float]]:
    """Test all rows, then the slices; return the findings over all rows with the slices that are worse, and z-scores.

    ``effect`` of a loss is in nats a row of the tested rows, of accuracy a share, of residuals a share;
    ``statistic`` is what it costs in nats a row of the window: the loss itself, of surprise its half (the
    divergence that a mixture would regain), of a residual r²/2v (what moving the intercept would regain).
    """
    inflated = _inflation(holdout, measured)
    whole = tuple(_whole(holdout, measured, schema, budget, inflated))
    slices = list(_slices(holdout, measured, budget, inflated[LOSS]))
    worst = max((z for _, z in slices), default=0.0)
    scores = {"slice_z": worst}
    worse = sorted((found for found, _ in slices if found.drifted), key=lambda found: -found.statistic)
    return (*whole, *worse), scores


def _inflation(holdout: "Holdout", measured: Measured) -> list[float]:
    """Design effect of each measure, the holdout's weighed in by its days."""
    columns = range(measured.values.shape[1])
    if measured.clusters is None:
        return [holdout.design_effect for _ in columns]
    here = len(np.unique(measured.clusters))
    return [
        (here * design_effect(measured.values[:, each], measured.clusters) + holdout.days * holdout.design_effect)
        / (here + holdout.days)
        for each in columns
    ]


def _whole(
    holdout: "Holdout", measured: Measured, schema: Schema, budget: Budget, inflated: list[float]
) -> Iterable[Finding]:
    degrees = holdout.days + (0 if measured.clusters is None else len(np.unique(measured.clusters))) - 2
    named = _named(schema)
    known = holdout.measures if len(holdout.measures) == len(named) else (holdout.excess_loss,)
    for position, ((kind, column), before) in enumerate(zip(named, known, strict=False)):
        values = measured.values[:, position]
        effect, level = float(values.mean()) - before.mean, getattr(budget, kind)
        if kind == "residual":
            chance = measured.probabilities[:, schema.target.classes.index(column)]
            p_value, cost = _residual(values, before, chance, inflated[position], degrees)
            level /= len(named) - RESIDUAL
        else:
            error = error_of(before, _variance(values), len(values)) * inflated[position]
            p_value = upper(effect / max(error, 1e-12) ** 0.5, degrees, inflated[position])
            cost = effect / 2 if kind == "surprise" else effect
        matters = effect >= ACCURACY_FLOOR if kind == "accuracy" else cost >= COST_FLOOR
        yield Finding(
            column=column, kind=kind, statistic=cost, effect=effect, p_value=p_value,
            drifted=bool(matters and p_value < level),
        )  # fmt: skip


def _named(schema: Schema) -> list[tuple[Kind, str]]:
    """Kind and column of each measure."""
    classes, target = schema.target.classes, schema.target.name
    residuals = classes[1:] if len(classes) == 2 else classes
    return [("loss", target), ("accuracy", target), ("surprise", target), *(("residual", name) for name in residuals)]


def _residual(values: Floats, before: Moments, chance: Floats, inflated: float, degrees: int) -> tuple[float, float]:
    """p-value (two-sided) and cost of a mean residual; its skewness is the probabilities' own."""
    spread = chance * (1 - chance)
    n = len(values)
    variance = max(float(spread.mean()), _variance(values))
    error = (error_of(before, variance, n) * inflated) ** 0.5
    if error <= 0 or n * float(spread.mean()) < 5:
        return 1.0, 0.0
    effect = float(values.mean()) - before.mean
    skew = float((spread * (1 - 2 * chance)).mean()) / n**2 / error**3
    z = effect / error
    corrected = z - skew * (z**2 - 1) / 6  # Cornish and Fisher, 1938
    if abs(corrected) > abs(z) or corrected * z < 0:
        corrected = z if corrected * z > 0 else 0.0
    return 2 * upper(abs(corrected), degrees, inflated), effect**2 / (2 * variance)


def _slices(holdout: "Holdout", measured: Measured, budget: Budget, inflated: float) -> Iterable[tuple[Finding, float]]:
    """Test the excess loss of every slice but those of all rows."""
    values = measured.values[measured.sliced, LOSS]
    tested = {name: measured.slices.sums(name, values) for name in measured.slices.codes if name in holdout.slices}
    total = sum(int((sums.rows >= MIN_SLICE).sum()) for sums in tested.values())
    for name, sums in tested.items():
        for position, past in enumerate(holdout.slices[name]):
            rows = int(sums.rows[position])
            if rows < MIN_SLICE or rows == len(values):
                continue
            mean = float(sums.total[position]) / rows
            variance = max(0.0, float(sums.squares[position]) / rows - mean**2) * rows / (rows - 1)
            before = past if past.rows >= MIN_SLICE else Moments(1, holdout.excess_loss.mean, variance)
            if past.rows < MIN_SLICE:
                before = Moments(holdout.rows, holdout.excess_loss.mean, holdout.excess_loss.variance)
            error = error_of(before, variance, rows) * inflated
            effect = mean - before.mean
            z = effect / max(error, 1e-12) ** 0.5
            cost, p_value = effect * rows / len(values), upper(z, min(rows, before.rows) - 1, 2.0)
            drifted = bool(p_value < budget.slices / max(1, total) and cost >= COST_FLOOR)
            called = measured.slices.names[name][position]
            finding = Finding(
                column=name, kind="loss", statistic=cost, effect=effect, p_value=p_value, drifted=drifted, slice=called
            )
            yield finding, z


def error_of(before: Moments, variance: float, rows: int) -> float:
    """Variance of the difference of two means.

    A small holdout that happens to hold few mistakes has both a low mean and a low variance, which would make
    every later window look worse; so its variance counts as at least the window's.
    """
    return max(before.variance, variance) / before.rows + variance / rows


def _variance(values: Floats) -> float:
    return moments(values).variance


def upper(z: float, degrees: int, inflated: float) -> float:
    """Chance of exceeding z: Student's t with the days' degrees of freedom where days differ, else normal."""
    from scipy.special import stdtr

    if inflated > 1.0 and degrees > 0:
        return float(stdtr(degrees, -z))
    return NormalDist().cdf(-z)
