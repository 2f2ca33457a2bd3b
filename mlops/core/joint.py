"""Inputs that no longer move together as before, though each of them alone looks the same.

Both tests compare the mean products of standardized columns, which a change of the columns alone
leaves as it was: the largest single change names its pair of columns, and a ridge discriminant
(Fisher's, with the covariance shrunk to a multiple of the identity, as a classifier of reference
and window rows fitted by ridge regression) sums up many small ones. It is calibrated by the moments
that it has over all permutations of which row is whose, so that nothing depends on a seed.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlops.core.arrays import Counts, Floats
from mlops.core.columns import CODES, Categories, Numbers, Sample
from mlops.core.two_sample import two_sided

ROWS = 3000
"""Most rows of a window that are looked at."""
LEVELS = 3
"""Most values of a category that are followed."""
PRODUCTS = 600
"""Most pairs that are compared; of more columns, pairs chosen at random, the same every time."""
COMMON = 0.02
"""A value rarer than this is not followed."""
RIDGE = 0.1
MIN_ROWS = 20
"""Rows of either side below which nothing is compared."""
PAIR_FLOOR = 0.1
"""Smallest change of a correlation that matters."""
DISTINCT_FLOOR = 0.53
"""Smallest area under the ROC curve of telling window rows from training rows that matters."""


class Joint(NamedTuple):
    """What both tests found; ``auc`` estimates how well window rows can be told from training rows."""

    auc: float
    auc_p: float
    columns: tuple[str, str]
    before: float
    now: float
    pair_p: float


def compare_joint(
    sample: Sample, columns: dict[str, Numbers | Categories], rows: npt.NDArray[np.uint8], names: tuple[str, ...]
) -> Joint | None:
    """Compare coded rows of the window [rows, columns ``names``] with the reference's; None where nothing can be.

    Both p-values hold over everything that they choose from.
    """
    place = {name: position for position, name in enumerate(sample.columns)}
    before = sample.codes()[:, [place[name] for name in names]]
    if min(len(before), len(rows)) < MIN_ROWS or len(names) < 2:
        return None
    levels = max(1, min(LEVELS, int((2 * PRODUCTS) ** 0.5) // len(names)))
    owners, features = _features(np.vstack([before, rows]), [columns[name] for name in names], levels)
    pairs = _pairs(owners)
    if not len(pairs):
        return None
    size = len(before)
    standard = np.vstack([_standard(features[:size]), _standard(features[size:])])
    products = standard[:, pairs[:, 0]] * standard[:, pairs[:, 1]]
    best, pair_p = _largest(products, size)
    auc, auc_p = _discriminant(products, size)
    one, other = (names[owners[each]] for each in pairs[best])
    old, new = float(products[:size, best].mean()), float(products[size:, best].mean())
    return Joint(auc, auc_p, (one, other), old, new, pair_p)


def _features(
    codes: npt.NDArray[np.uint8], columns: Iterable[Numbers | Categories], levels: int
) -> tuple[list[int], Floats]:
    """Normal scores of numbers, and indicators of the commonest values of categories, with their columns."""
    owners, found = [], []
    for position, column in enumerate(columns):
        values = codes[:, position]
        for feature in _indicators(values, levels) if isinstance(column, Categories) else [_scores(values)]:
            if feature.std() > 0:
                owners.append(position)
                found.append(feature)
    return owners, np.column_stack(found) if found else np.empty((len(codes), 0))


def _indicators(codes: npt.NDArray[np.uint8], levels: int) -> list[Floats]:
    counts = np.bincount(codes, minlength=CODES + 2)
    counts[0] = 0
    common = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code] >= COMMON * len(codes)]
    most = 1 if len(common) <= 2 else levels
    return [(codes == code).astype(np.float64) for code in common[:most]]


def _scores(codes: npt.NDArray[np.uint8]) -> Floats:
    from scipy.special import ndtri

    counts = np.bincount(codes, minlength=CODES + 2)
    missing, counts[0] = counts[0], 0
    middle = (counts.cumsum() - counts / 2) / max(1, len(codes) - missing)
    scores = ndtri(np.clip(middle, 1e-6, 1 - 1e-6))
    scores[0] = 0.0
    return np.asarray(scores[codes])


def _pairs(owners: list[int]) -> Counts:
    first, second = np.triu_indices(len(owners), 1)
    columns = np.asarray(owners, dtype=np.int64)
    apart = columns[first] != columns[second]
    pairs = np.column_stack([first[apart], second[apart]])
    if len(pairs) <= PRODUCTS:
        return pairs
    return np.asarray(np.random.default_rng(0).permutation(pairs)[:PRODUCTS])


def _standard(features: Floats) -> Floats:
    spread = features.std(axis=0)
    return np.asarray((features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _largest(products: Floats, size: int) -> tuple[int, float]:
    """The pair whose mean product changed most beyond chance, and the chance of any so large a change."""
    n, m = size, len(products) - size
    squares = (products - products.mean(axis=0)) ** 2
    variance = squares.mean(axis=0)
    safe = np.where(variance > 0, variance, 1.0)
    peaks = np.einsum("ij,ij->j", squares, squares) / len(squares) / safe**2
    change = products[n:].mean(axis=0) - products[:n].mean(axis=0)
    z = np.abs(change) / (safe * (1 / n + 1 / m)) ** 0.5
    # A mean of few heavy-tailed products is not normal.
    z[(variance <= 0) | (peaks > max(10.0, min(n, m) / 10))] = 0.0
    best = int(z.argmax())
    return best, min(1.0, len(z) * two_sided(float(z[best])))


def _discriminant(products: Floats, size: int) -> tuple[float, float]:
    """Area under the ROC curve of Fisher's discriminant, free of its fit's optimism, and its p-value."""
    from scipy.linalg import solve_triangular
    from scipy.special import gammaincc

    n, m = size, len(products) - size
    centred = products - products.mean(axis=0)
    covariance = centred.T @ centred / len(products)
    covariance[np.diag_indices_from(covariance)] += RIDGE * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    white = solve_triangular(np.linalg.cholesky(covariance), centred.T, lower=True, check_finite=False).T
    seen = float(((white[n:].mean(axis=0) - white[:n].mean(axis=0)) ** 2).sum())
    mean, spread, skew = _permuted(white, n, m)
    # Pearson's type III: a gamma of shape 4/skew², shifted and scaled (Josse, Pagès and Husson, 2008).
    shape = 4 / skew**2
    p_value = float(gammaincc(shape, max(0.0, shape + (seen - mean) / spread * shape**0.5)))
    return _area(max(0.0, seen - mean)), p_value


def _permuted(white: Floats, n: int, m: int) -> tuple[float, float, float]:
    """Mean, standard deviation and skewness of the squared distance when any n of the rows may be the reference's.

    It is a quadratic form of labels y, -1/n or 1/m, in the rows' inner products K; mean and variance are exact
    (the moments of Kazi-Aoual et al., 1995, for two groups), the skewness is that of its limit, a weighted
    sum of chi-squared variables. Rows must be centred.
    """
    total = n + m
    inner = white.T @ white
    own = np.einsum("ij,ij->i", white, white)
    trace, diagonal, square = float(own.sum()), float((own**2).sum()), float((inner**2).sum())
    cube = float(((inner @ inner) * inner).sum())
    second, fourth = (1 / n + 1 / m) / total, (n**-3 + m**-3) / total
    # Expected products of four labels by which of them are of one row: 2+2, 2+1+1, 1+1+1+1.
    twos = (total * second**2 - fourth) / (total - 1)
    mixed = (fourth / (total - 1) - twos) / (total - 2)
    ones = -3 * mixed / (total - 3)
    mean = second * trace * total / (total - 1)
    raw = diagonal * fourth * (1 + 4 / (total - 1)) + (trace**2 + 2 * square - 3 * diagonal) * twos
    raw += (12 * diagonal - 2 * trace**2 - 4 * square) * mixed + (trace**2 + 2 * square - 6 * diagonal) * ones
    spread = max(raw - mean**2, 1e-100) ** 0.5
    return mean, spread, max(1e-3, 8**0.5 * cube / max(square, 1e-100) ** 1.5)


def _area(squared_distance: float) -> float:
    """Area under the ROC curve of two normals at this squared Mahalanobis distance: Φ(√(d²/2))."""
    from scipy.special import ndtr

    return float(ndtr((squared_distance / 2) ** 0.5))
