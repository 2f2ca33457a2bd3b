"""Two-sample statistics on counts and moments."""

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Moments(msgspec.Struct, frozen=True):
    """Mean and variance over rows."""

    rows: int
    mean: float
    variance: float


def moments(values: Floats) -> Moments:
    """Return mean and sample variance (0 for a single row)."""
    return Moments(len(values), float(values.mean()), float(values.var(ddof=1)) if len(values) > 1 else 0.0)


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
    """Return KS's D on binned distribution functions, and its asymptotic p-value (ties make both smaller)."""
    from scipy.special import kolmogorov

    n, m = int(before.sum()), int(now.sum())
    distance = float(np.abs(before.cumsum() / n - now.cumsum() / m).max())
    return distance, float(kolmogorov(distance * np.sqrt(n * m / (n + m))))
