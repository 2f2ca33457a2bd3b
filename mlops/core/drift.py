"""The reference that a model is trained with, and the comparison of a window's inputs with it.

Columns are compared as histograms, one pass over the rows each: Kolmogorov-Smirnov on binned
distribution functions for numbers, chi-squared of homogeneity for categories, two proportions for
missing values. A difference counts when it is both beyond chance, at one Bonferroni budget over
all tests, and large enough to matter: with many rows chance alone explains nothing. The tests take
rows as independent; seasons and weather are not, so a difference asks for a look, not for an action.
"""

from collections import Counter
from collections.abc import Iterable
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from mlops.core.evaluation import CLIP, evaluate, losses
from mlops.core.schema import Column, Schema
from mlops.core.two_sample import Counts, Floats, Moments, chi_squared, kolmogorov_smirnov, moments

Kind = Literal["ks", "chi2", "missing", "absent", "all_missing", "unseen", "stuck", "unit"]
INCIDENTS: frozenset[Kind] = frozenset({"absent", "all_missing", "unseen", "stuck", "unit"})

EDGES = 512
"""Most quantile edges kept of a number, and most values kept of a category."""
EFFECT_FLOOR = 0.05
"""Smallest distance (KS's D, or total variation) that matters."""
MISSING_FLOOR = 0.02
"""Smallest change of the missing share that matters."""
UNSEEN_FLOOR = 0.005
"""Smallest share of unseen categories that is an incident; a stray among many rows is none."""
STUCK_SHARE = 0.1
"""A value rarer than this in the reference that fills a whole window is stuck; one that was
common may fill a calm window (no rain, a single weekday)."""
UNIT_FACTOR = 2.0
"""Smallest factor between medians that may be a change of unit."""
CONFIDENCE_BINS = 20


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """A numeric column; ``counts[i]`` finite values lie in (``edges[i-1]``, ``edges[i]``]."""

    rows: int
    missing: int
    """Missing and infinite values."""
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Categories(msgspec.Struct, frozen=True, tag="categories"):
    """A categorical column: its most frequent values, and how many rows hold rarer ones."""

    rows: int
    missing: int
    counts: dict[str, int]
    other: int = 0


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """How the model did on rows it was not fitted on; losses in nats a row."""

    rows: int
    log_loss: Moments
    excess_loss: Moments
    accuracy: float
    roc_auc: float | None
    confidence: tuple[int, ...]
    """Histogram of the winning class's probability over [0, 1]."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """``profile.json``: what windows of production are compared with."""

    rows: int
    columns: dict[str, Numbers | Categories]
    holdout: Holdout


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one test found in one column; kinds in ``INCIDENTS`` say that the data are broken."""

    column: str
    kind: Kind
    statistic: float
    effect: float
    """D, total variation, change of a share, or the factor of a unit."""
    p_value: float | None = None
    drifted: bool = True


def reference(frame: pd.DataFrame, schema: Schema, labels: pd.Series, probabilities: Floats) -> Reference:
    """Profile the training inputs and the holdout's losses.

    Args:
        frame: typed training inputs, one row a record.
        schema: the model's columns and classes.
        labels: the holdout's true classes, as text.
        probabilities: the model's answers for the holdout [rows, classes].

    Raises:
        ValueError: the holdout is empty, a label is none of the classes, or the shapes differ.
    """
    columns = {column.name: _profile(column, frame[column.name]) for column in schema.features}
    return Reference(rows=len(frame), columns=columns, holdout=_holdout(schema, labels, probabilities))


def expected_losses(probabilities: Floats) -> Floats:
    """Return the log loss that each row's probabilities expect of themselves: -Σ p ln p, in nats.

    Observed less expected is the excess loss. It is zero on average for a calibrated model whatever
    its inputs, so that harder inputs alone do not look like a worse model.
    """
    clipped = np.clip(probabilities, CLIP, 1.0)
    return np.asarray(-(clipped * np.log(clipped)).sum(axis=1))


def compare(
    reference: Reference, window: pd.DataFrame, probabilities: Floats, schema: Schema, false_alarm_rate: float
) -> tuple[Finding, ...]:
    """Test every feature of a window, then the model's confidence; all findings, drifted or not.

    Args:
        reference: from training.
        window: typed inputs; a column may be absent, all-missing, constant or hold infinities.
        probabilities: the model's answers for the window [rows, classes].
        schema: the model's columns.
        false_alarm_rate: chance of any finding on unchanged independent rows, over all tests.
    """
    level = false_alarm_rate / (2 * len(schema.features) + 1)
    findings: list[Finding] = []
    for column in schema.features:
        before = reference.columns.get(column.name)
        if before is None:
            continue  # a feature that the spec gained after this model's training
        if column.name not in window or not len(window):
            findings.append(Finding(column=column.name, kind="absent", statistic=1.0, effect=1.0))
        elif isinstance(before, Numbers):
            findings += _compare_numbers(column.name, before, _finite(window[column.name]), len(window), level)
        else:
            findings += _compare_categories(column.name, before, _texts(window[column.name]), len(window), level)
    counts = np.column_stack([reference.holdout.confidence, _confidence(probabilities)])
    findings.append(_chi2(schema.output, counts, level))
    return tuple(findings)


def _profile(column: Column, values: pd.Series) -> Numbers | Categories:
    if column.type == "category":
        texts = _texts(values)
        ranked = sorted(texts.items(), key=lambda item: (-item[1], item[0]))
        other = sum(count for _, count in ranked[EDGES:])
        return Categories(len(values), len(values) - texts.total(), dict(ranked[:EDGES]), other)
    finite = _finite(values)
    edges: tuple[float, ...] = ()
    if len(finite):
        quantiles = np.quantile(finite, np.linspace(0, 1, EDGES - 1), method="inverted_cdf")
        # The first bin stays empty, so that values below the smallest one show.
        edges = tuple(np.unique([np.nextafter(quantiles[0], -np.inf), *quantiles]).tolist())
    return Numbers(len(values), len(values) - len(finite), edges, tuple(_histogram(finite, edges).tolist()))


def _holdout(schema: Schema, labels: pd.Series, probabilities: Floats) -> Holdout:
    classes = schema.target.classes
    metrics = evaluate(labels, probabilities, classes)
    observed = losses(labels, probabilities, classes)
    return Holdout(
        rows=metrics.rows,
        log_loss=moments(observed),
        excess_loss=moments(observed - expected_losses(probabilities)),
        accuracy=metrics.accuracy,
        roc_auc=metrics.roc_auc,
        confidence=tuple(_confidence(probabilities).tolist()),
    )


def _confidence(probabilities: Floats) -> Counts:
    winning = probabilities.max(axis=1)
    counts, _ = np.histogram(winning[np.isfinite(winning)], bins=CONFIDENCE_BINS, range=(0.0, 1.0))
    return np.asarray(counts, dtype=np.int64)


def _finite(values: pd.Series) -> Floats:
    numbers = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float64)
    return np.asarray(numbers[np.isfinite(numbers)])


def _texts(values: pd.Series) -> Counter[str]:
    present = values.dropna().astype(str).value_counts()
    return Counter({str(value): int(count) for value, count in present.items()})


def _histogram(finite: Floats, edges: tuple[float, ...]) -> Counts:
    return np.bincount(np.searchsorted(edges, finite), minlength=len(edges) + 1)


def _compare_numbers(name: str, before: Numbers, now: Floats, rows: int, level: float) -> Iterable[Finding]:
    yield from _missing(name, before, rows - len(now), rows, level)
    if not len(now) or not sum(before.counts):
        return
    counts = _histogram(now, before.edges)
    distance, p_value = kolmogorov_smirnov(np.asarray(before.counts), counts)
    drifted = p_value < level and distance >= EFFECT_FLOOR
    yield Finding(column=name, kind="ks", statistic=distance, effect=distance, p_value=p_value, drifted=drifted)
    share = before.counts[int(counts.argmax())] / sum(before.counts)
    if len(now) > 1 and now.min() == now.max() and share < STUCK_SHARE and len(before.edges) > 2:
        yield Finding(column=name, kind="stuck", statistic=float(now[0]), effect=1 - share)
    elif drifted and (factor := _unit_factor(before, now, distance)):
        yield Finding(column=name, kind="unit", statistic=distance, effect=factor)


def _compare_categories(name: str, before: Categories, now: Counter[str], rows: int, level: float) -> Iterable[Finding]:
    from scipy.special import bdtrc

    total, known = now.total(), sum(before.counts.values())
    yield from _missing(name, before, rows - total, rows, level)
    if not total or not known:
        return
    unseen = sum(count for value, count in now.items() if value not in before.counts)
    if not before.other and unseen / total >= UNSEEN_FLOOR:
        # Good-Turing: values seen once foretell the share of values not seen yet.
        singles = max(1, sum(count == 1 for count in before.counts.values()))
        p_value = float(bdtrc(unseen - 1, total, min(1.0, singles / known)))
        if p_value < level:
            yield Finding(column=name, kind="unseen", statistic=unseen, effect=unseen / total, p_value=p_value)
    pairs = [(count, now.get(value, 0)) for value, count in before.counts.items()] + [(before.other, unseen)]
    yield _chi2(name, np.asarray(pairs), level)


def _chi2(name: str, counts: Counts, level: float) -> Finding:
    statistic, variation, p_value = chi_squared(counts)
    drifted = p_value < level and variation >= EFFECT_FLOOR
    return Finding(column=name, kind="chi2", statistic=statistic, effect=variation, p_value=p_value, drifted=drifted)


def _missing(name: str, before: Numbers | Categories, missing: int, rows: int, level: float) -> Iterable[Finding]:
    """Test the missing share; all-missing is an incident where the reference makes it implausible."""
    share = before.missing / before.rows if before.rows else 1.0
    change = missing / rows - share
    if missing == rows and share**rows < level:
        yield Finding(column=name, kind="all_missing", statistic=1.0, effect=change)
        return
    pooled = (before.missing + missing) / (before.rows + rows)
    error = np.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / max(1, before.rows)))
    z = float(change / error) if error > 0 else 0.0
    p_value = 2 * NormalDist().cdf(-abs(z))
    drifted = p_value < level and abs(change) >= MISSING_FLOOR
    yield Finding(column=name, kind="missing", statistic=z, effect=change, p_value=p_value, drifted=drifted)


def _unit_factor(before: Numbers, now: Floats, distance: float) -> float | None:
    """Return the factor between the medians if dividing by it restores the reference's shape."""
    counts = np.asarray(before.counts)
    middle = int(np.searchsorted(counts.cumsum(), counts.sum() / 2))
    old, new = before.edges[min(middle, len(before.edges) - 1)], float(np.quantile(now, 0.5, method="inverted_cdf"))
    if len(before.edges) <= 2 or old * new <= 0 or max(new / old, old / new) < UNIT_FACTOR:
        return None
    with np.errstate(over="ignore"):
        restored, p_value = kolmogorov_smirnov(counts, _histogram(now / (new / old), before.edges))
    return new / old if restored <= distance / 4 and (p_value > 0.01 or restored < EFFECT_FLOOR) else None
