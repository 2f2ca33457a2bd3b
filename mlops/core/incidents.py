"""Broken data, column by column: values never seen, a value that stands still, another unit."""

from collections.abc import Iterable

import numpy as np

from mlops.core.arrays import Floats
from mlops.core.columns import Categories, Numbers, Reading
from mlops.core.findings import Finding
from mlops.core.two_sample import kolmogorov_smirnov, rates

UNSEEN_FLOOR = 0.005
"""Smallest share of unseen categories that is an incident; a stray among many rows is none."""
STUCK_SHARE = 0.1
"""A value rarer than this in the reference that fills a whole window is stuck; one that was
common may fill a calm window (no rain, a single weekday)."""
FEW_VALUES = 31
"""Columns of so few values, texts or whole numbers, may be one for a whole window: year, month, day, hour."""
UNIT_FACTOR = 2.0
"""Smallest factor that is a change of unit in any case."""
UNITS = (1.609344, 1.852)
"""Factors below it that are units' own: kilometres a mile and a nautical mile."""
UNIT_TOLERANCE = 0.03


def unseen(name: str, before: Categories, now: Reading, level: float) -> Finding | None:
    """Find values that the training rows did not have, beyond the share that they foretell.

    Good and Turing: values seen once foretell the share of values not seen yet (Good, 1953); the two counts are
    compared as shares, so that a small reference promises little.
    """
    total, known = now.texts.total(), sum(before.counts.values())
    new = sum(count for value, count in now.texts.items() if value not in before.counts)
    if before.other or not total or not known or new / total < UNSEEN_FLOOR:
        return None
    singles = sum(count == 1 for count in before.counts.values())
    more, p_value = rates(singles, known, new, total)
    if more <= 0 or p_value >= level:
        return None
    values = sorted((value for value in now.texts if value not in before.counts), key=lambda value: -now.texts[value])
    shares = {value: now.texts[value] / total for value in values[:5]}
    return Finding(column=name, kind="unseen", statistic=new, effect=new / total, p_value=p_value, now=shares)


def stuck(name: str, before: Numbers | Categories, now: Reading) -> Finding | None:
    """Find a column that holds one value that was rare among many."""
    if isinstance(before, Categories):
        if len(now.texts) != 1 or now.texts.total() < 2:
            return None
        (value,) = now.texts
        share = before.counts.get(value, 0) / max(1, sum(before.counts.values()))
        few, shown = len(before.counts) <= FEW_VALUES, 0.0
    else:
        if now.rows - now.missing < 2 or now.low != now.high:
            return None
        share = before.counts[int(now.counts.argmax())] / max(1, sum(before.counts))
        # The lowest edge lies just below the lowest value; the others are values.
        values = before.edges[1:]
        few, shown = len(values) <= FEW_VALUES and all(value.is_integer() for value in values), now.low
    if few or share >= STUCK_SHARE:
        return None
    return Finding(column=name, kind="stuck", statistic=shown, effect=1 - share)


def unit(name: str, before: Numbers, values: Floats, distance: float) -> Finding | None:
    """Find the factor that explains a drifted number's change: divided by it, it is as in training.

    Args:
        name: the column.
        before: the reference's.
        values: of the window, a bounded choice of rows.
        distance: Kolmogorov-Smirnov's D as the values are.
    """
    finite = values[np.isfinite(values)]
    factor = _factor(before, finite)
    if factor is None:
        return None
    with np.errstate(over="ignore"):
        counts = np.bincount(np.searchsorted(before.edges, finite / factor), minlength=len(before.counts))
    restored, p_value = kolmogorov_smirnov(np.asarray(before.counts), counts)
    if restored > distance / 2 or p_value < 0.001:
        return None
    return Finding(column=name, kind="unit", statistic=restored, effect=factor)


def _factor(before: Numbers, now: Floats) -> float | None:
    """Ratio of the geometric means of the magnitudes, if it may be a unit."""
    known = now[now != 0]
    sizes, weights = _magnitudes(before)
    if len(before.edges) <= 2 or not len(known) or not weights.sum():
        return None
    log_factor = float(np.log(np.abs(known)).mean() - sizes @ weights / weights.sum())
    size = abs(log_factor)
    named = any(abs(size - np.log(each)) < UNIT_TOLERANCE for each in UNITS)
    if not (size >= np.log(UNIT_FACTOR) - UNIT_TOLERANCE or named) or size > 700:
        return None
    return float(np.exp(log_factor))


def _magnitudes(before: Numbers) -> tuple[Floats, Floats]:
    """Logarithms of the reference's magnitudes, zero left out, and how many rows hold each."""
    edges, counts = np.asarray(before.edges), np.asarray(before.counts, dtype=np.float64)[: len(before.edges)]
    kept = (edges != 0) & (counts > 0)
    return np.log(np.abs(edges[kept])), counts[kept]


def incidents(name: str, before: Numbers | Categories, now: Reading, level: float) -> Iterable[Finding]:
    """Find what a column's counts alone show to be broken."""
    found = [stuck(name, before, now)]
    if isinstance(before, Categories):
        found.append(unseen(name, before, now, level))
    return [each for each in found if each]
