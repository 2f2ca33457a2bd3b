"""The comparison of a window's inputs and predictions with the reference that the model was trained with.

Columns are compared as histograms, one pass over the rows each: Kolmogorov-Smirnov on binned
distribution functions and normal scores of ranks for numbers, chi-squared of homogeneity for categories,
two proportions for missing values; then columns together, and predictions. A difference counts when it
is both beyond chance, at one Bonferroni budget over all tests, and large enough to matter: with many
rows chance alone explains nothing. The tests take rows as independent; seasons and weather are not, so
once there is a history, thresholds come from past windows (``mlops.core.calibration``).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlops.core.arrays import Counts, Floats
from mlops.core.columns import Categories, Numbers, Reading, chosen, numeric, read, row_codes
from mlops.core.findings import ALL_COLUMNS, INCIDENTS, Finding, Kind
from mlops.core.fingerprint import Fingerprint, RowHashes
from mlops.core.incidents import incidents, unit
from mlops.core.joint import DISTINCT_FLOOR, PAIR_FLOOR, ROWS, compare_joint
from mlops.core.profile import Holdout, Reference, confidence, expected_losses, predicted, reference
from mlops.core.schema import Schema
from mlops.core.two_sample import chi_squared, kolmogorov_smirnov, rank_scores, rates

__all__ = ["INCIDENTS", "Finding", "Holdout", "Kind", "Reference", "compare", "expected_losses", "reference"]

EFFECT_FLOOR = 0.05
"""Smallest distance (KS's D, or total variation) that matters."""
LOCATION_FLOOR = 0.125
"""The same for a moved mean, in standard deviations: what moves a normal distribution by D = .05."""
SCALE_FLOOR = 0.2
"""The same for the variance, as a share of it."""
MISSING_FLOOR = 0.02
"""Smallest change of the missing share that matters."""
COLUMNS_SHARE, JOINT_SHARE, PREDICTIONS_SHARE = 0.35, 0.1, 0.05
"""Shares of the error budget; labels have what is left (``mlops.core.evidence``)."""
SHOWN_ROWS = 20_000
"""Most rows from which quantiles and units are told."""


class Compared(NamedTuple):
    """All findings, drifted or not, and the window's fingerprint."""

    findings: tuple[Finding, ...]
    fingerprint: Fingerprint


def compare(
    reference: Reference, window: pd.DataFrame, probabilities: Floats | None, schema: Schema, false_alarm_rate: float
) -> Compared:
    """Test every feature of a window, features together, and the model's answers.

    Args:
        reference: from training.
        window: typed inputs; a column may be absent, all-missing, constant or hold infinities.
        probabilities: the model's answers for the window [rows, classes]; None without a model.
        schema: the model's columns.
        false_alarm_rate: the verdict's whole error budget, for unchanged independent rows. Columns,
            columns together and predictions spend half of it.
    """
    # A feature that the spec gained after this model's training has nothing to be compared with.
    columns = {c.name: reference.columns[c.name] for c in schema.features if c.name in reference.columns}
    # Of categories: chi-squared, missing and unseen values; of numbers: KS, location, scale, missing values.
    tests = sum(3 if isinstance(before, Categories) else 4 for before in columns.values())
    level = COLUMNS_SHARE * false_alarm_rate / max(1, tests)
    hashes, findings = RowHashes(len(window)), []
    for name, before in columns.items():
        if name not in window or not len(window):
            findings.append(Finding(column=name, kind="absent", statistic=1.0, effect=1.0))
            continue
        findings += _compare_column(name, before, window[name], read(before, window[name], hashes), level)
    findings += _compare_rows(reference, columns, window, JOINT_SHARE * false_alarm_rate)
    if probabilities is not None and reference.holdout is not None:
        findings += _compare_answers(reference.holdout, probabilities, schema, PREDICTIONS_SHARE * false_alarm_rate)
    return Compared(tuple(findings), hashes.fingerprint())


def _compare_column(
    name: str, before: Numbers | Categories, values: pd.Series, now: Reading, level: float
) -> Iterable[Finding]:
    yield from _missing(name, before, now, level)
    known = before.rows - before.missing
    if now.missing == now.rows or not known:
        return
    yield from incidents(name, before, now, level)
    if isinstance(before, Categories):
        yield from _compare_categories(name, before, now, level)
    else:
        yield from _compare_numbers(name, before, values, now, level)


def _compare_numbers(name: str, before: Numbers, values: pd.Series, now: Reading, level: float) -> Iterable[Finding]:
    counts = np.asarray(before.counts)
    distance, p_value = kolmogorov_smirnov(counts, now.counts)
    location, scale = rank_scores(counts, now.counts)
    tests: list[tuple[Kind, float, float, float]] = [
        ("ks", distance, p_value, EFFECT_FLOOR),
        ("location", *location, LOCATION_FLOOR),
        ("scale", *scale, SCALE_FLOOR),
    ]
    drifted = [kind for kind, effect, chance, floor in tests if chance < level and abs(effect) >= floor]
    shown: dict[str, Any] = {}
    if drifted:
        some = numeric(values.iloc[chosen(len(values), SHOWN_ROWS)])
        shown = {"before": _quantiles(before), "now": _shown(some, now.mean)}
        if now.low != now.high and (found := unit(name, before, some, distance)):
            yield found
    for kind, effect, chance, _ in tests:
        moved = kind in drifted
        yield Finding(
            column=name, kind=kind, statistic=effect, effect=effect, p_value=chance, drifted=moved,
            **(shown if moved else {}),
        )  # fmt: skip


def _compare_categories(name: str, before: Categories, now: Reading, level: float) -> Iterable[Finding]:
    unseen = sum(count for value, count in now.texts.items() if value not in before.counts)
    pairs = [(count, now.texts.get(value, 0)) for value, count in before.counts.items()] + [(before.other, unseen)]
    names = [*before.counts, "other values"]
    yield _chi2(name, "chi2", np.asarray(pairs), names, level)


def _compare_rows(
    reference: Reference, columns: dict[str, Numbers | Categories], window: pd.DataFrame, budget: float
) -> Iterable[Finding]:
    """Compare columns together, those that both sides hold; half of the budget for each of two tests."""
    sample = reference.sample
    present = {name: before for name, before in columns.items() if name in window}
    if sample is None or not present or not len(window):
        return
    rows = row_codes(window.iloc[chosen(len(window), ROWS)], present)
    found = compare_joint(sample, columns, rows, tuple(present))
    if found is None:
        return
    change = found.now - found.before
    moved = found.pair_p < budget / 2 and abs(change) >= PAIR_FLOOR
    one, other = found.columns
    yield Finding(
        column=one, partner=other, kind="pair", statistic=change, effect=change, p_value=found.pair_p, drifted=moved,
        before={"correlation": found.before} if moved else {}, now={"correlation": found.now} if moved else {},
    )  # fmt: skip
    distinct = found.auc_p < budget / 2 and found.auc >= DISTINCT_FLOOR
    yield Finding(
        column=ALL_COLUMNS, kind="joint", statistic=found.auc, effect=found.auc, p_value=found.auc_p, drifted=distinct
    )


def _compare_answers(holdout: Holdout, probabilities: Floats, schema: Schema, budget: float) -> Iterable[Finding]:
    """Compare how sure the model is, and what it answers, with its holdout."""
    counts = np.column_stack([holdout.confidence, confidence(probabilities)])
    bins = [f"{low / len(counts):.0%} to {(low + 1) / len(counts):.0%} sure" for low in range(len(counts))]
    yield _chi2(schema.output, "confidence", counts, bins, budget / 2)
    if holdout.predicted:
        classes = np.column_stack([holdout.predicted, predicted(probabilities)])
        yield _chi2(schema.output, "classes", classes, list(schema.target.classes), budget / 2)


def _chi2(name: str, kind: Kind, counts: Counts, names: list[str], level: float) -> Finding:
    statistic, variation, p_value = chi_squared(counts)
    drifted = p_value < level and variation >= EFFECT_FLOOR
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    moved: list[int] = np.argsort(-np.abs(shares[:, 1] - shares[:, 0]), kind="stable")[:5].tolist() if drifted else []
    return Finding(
        column=name, kind=kind, statistic=statistic, effect=variation, p_value=p_value, drifted=drifted,
        before={names[each]: float(shares[each, 0]) for each in moved},
        now={names[each]: float(shares[each, 1]) for each in moved},
    )  # fmt: skip


def _missing(name: str, before: Numbers | Categories, now: Reading, level: float) -> Iterable[Finding]:
    """Test the missing share; all-missing is an incident where the reference makes it implausible."""
    share = before.missing / before.rows if before.rows else 1.0
    change, p_value = rates(before.missing, before.rows, now.missing, now.rows)
    if now.missing == now.rows and share**now.rows < level:
        yield Finding(column=name, kind="all_missing", statistic=1.0, effect=change)
        return
    drifted = p_value < level and abs(change) >= MISSING_FLOOR
    shown: dict[str, Any] = {"before": {"missing": share}, "now": {"missing": share + change}} if drifted else {}
    yield Finding(
        column=name, kind="missing", statistic=change, effect=change, p_value=p_value, drifted=drifted, **shown
    )


def _quantiles(before: Numbers) -> dict[str, float]:
    counts = np.asarray(before.counts).cumsum()
    last = len(before.edges) - 1
    found = {
        f"{share:.0%}": float(before.edges[min(int(np.searchsorted(counts, share * counts[-1])), last)])
        for share in (0.05, 0.5, 0.95)
    }
    return ({} if before.mean is None else {"mean": before.mean}) | found


def _shown(values: Floats, mean: float) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": mean}
    quantiles = np.quantile(finite, (0.05, 0.5, 0.95), method="inverted_cdf")
    return {"mean": mean} | dict(zip(("5%", "50%", "95%"), map(float, quantiles), strict=True))
