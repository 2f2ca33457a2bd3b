"""Two-sample statistics on counts and moments."""

from statistics import NormalDist
from typing import NamedTuple

import msgspec
import numpy as np

from mlops.core.arrays import Counts, Floats

SMALL = 5000
"""Most cells over which an exact tail is summed; beyond, the normal approximation is exact enough."""


class Moments(msgspec.Struct, frozen=True):
    """Mean and variance over rows."""

    rows: int
    mean: float
    variance: float


class Scores(NamedTuple):
    """A linear rank test: how far the window's mean score is from the reference's, and its p-value."""

    effect: float
    p_value: float


def moments(values: Floats) -> Moments:
    """Return mean and sample variance (0 for a single row)."""
    return Moments(len(values), float(values.mean()), float(values.var(ddof=1)) if len(values) > 1 else 0.0)


def two_sided(z: float) -> float:
    """The chance that a standard normal lies further from 0 than z."""
    return 2 * NormalDist().cdf(-abs(z))


def chi_squared(counts: Counts) -> tuple[float, float, float]:
    """Test whether two columns of counts [cells, 2] come from one distribution.

    Cells that expect fewer than five of either side are pooled (Cochran, 1954).

    Returns:
        Chi-squared, total variation over the pooled cells, p-value.
    """
    from scipy.special import chdtrc

    totals = counts.sum(axis=0)
    expected = counts.sum(axis=1, keepdims=True) * totals / max(1, totals.sum())
    rare = (expected < 5).any(axis=1)
    cells = np.vstack([counts[~rare], counts[rare].sum(axis=0)]) if rare.any() else counts
    cells = cells[cells.sum(axis=1) > 0]
    if len(cells) < 2 or not totals.all():
        return 0.0, 0.0, 1.0
    expected = cells.sum(axis=1, keepdims=True) * totals / totals.sum()
    statistic = float(((cells - expected) ** 2 / expected).sum())
    variation = float(np.abs(cells[:, 0] / totals[0] - cells[:, 1] / totals[1]).sum() / 2)
    return statistic, variation, float(chdtrc(len(cells) - 1, statistic))


def kolmogorov_smirnov(before: Counts, now: Counts) -> tuple[float, float]:
    """Return KS's D on binned distribution functions, and its asymptotic p-value (ties make both smaller).

    Args:
        before: counts [bins], above 0 in sum.
        now: counts of the same bins, above 0 in sum.
    """
    from scipy.special import kolmogorov

    n, m = int(before.sum()), int(now.sum())
    distance = float(np.abs(before.cumsum() / n - now.cumsum() / m).max())
    return distance, float(kolmogorov(distance * np.sqrt(n * m / (n + m))))


def rank_scores(before: Counts, now: Counts) -> tuple[Scores, Scores]:
    """Test location (van der Waerden) and scale (Klotz, 1962) by normal scores of the pooled mid-ranks.

    Both use the permutation variance given the ties (Hájek, Šidák and Sen, 1999, ch. 3), so they need no
    shape. The effect on location is in standard deviations; on scale it is the change of the mean
    squared score, near the variance's ratio less one.
    """
    pooled = before + now
    total = int(pooled.sum())
    ranks = (pooled.cumsum() - pooled / 2) / max(1, total)
    scores = _normal_scores(np.clip(ranks, 1e-9, 1 - 1e-9))
    return _linear(scores, before, now), _linear(scores**2, before, now)


def rates(before: int, before_rows: int, now: int, rows: int) -> tuple[float, float]:
    """Test whether two shares differ: Fisher's exact test while counts are small, else two proportions.

    Returns:
        The change of the share, two-sided p-value (twice the smaller tail).
    """
    if not before_rows or not rows:
        return 0.0, 1.0
    change = now / rows - before / before_rows
    hits, total = before + now, before_rows + rows
    if hits in (0, total):
        return change, 1.0
    if min(hits, total - hits, rows) > SMALL:
        pooled = hits / total
        return change, two_sided(change / (pooled * (1 - pooled) * (1 / rows + 1 / before_rows)) ** 0.5)
    return change, _fisher(now, rows, hits, total)


def _normal_scores(shares: Floats) -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri(shares))


def _linear(scores: Floats, before: Counts, now: Counts) -> Scores:
    n, m = int(before.sum()), int(now.sum())
    pooled = before + now
    if not n or not m:
        return Scores(0.0, 1.0)
    mean = float(scores @ pooled) / (n + m)
    variance = float((scores - mean) ** 2 @ pooled) / (n + m - 1)
    effect = float(scores @ now) / m - float(scores @ before) / n
    error = (variance * (1 / n + 1 / m)) ** 0.5
    if error <= 0:
        return Scores(effect, 1.0)
    # Squared scores are skewed, and so is the mean of a small sample of them (Cornish and Fisher, 1938).
    share, z = m / (n + m), effect / error
    skewness = float((scores - mean) ** 3 @ pooled) / (n + m) / variance**1.5
    skewness *= (1 - 2 * share) / (m * (1 - share)) ** 0.5
    corrected = z - skewness * (z**2 - 1) / 6
    return Scores(effect, two_sided(corrected if corrected * z > 0 else 0.0))


def _fisher(now: int, rows: int, hits: int, total: int) -> float:
    """Sum the hypergeometric distribution of the window's hits on either side of what was seen."""
    from scipy.special import gammaln

    possible = np.arange(max(0, hits + rows - total), min(hits, rows) + 1)

    def chosen(n: int, k: Counts) -> Floats:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    logs = chosen(hits, possible) + chosen(total - hits, rows - possible)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    tails = weights[possible <= now].sum(), weights[possible >= now].sum()
    return float(min(1.0, 2 * min(tails)))
