"""Sums, maxima and choices across the few columns of a table of many rows.

NumPy reduces along a short last axis row by row; column by column is ten times as quick, with the same results.
"""

from functools import reduce

import numpy as np
import numpy.typing as npt

from mlops.core.arrays import Floats

FEW = 7
"""Most columns that are taken one by one; NumPy sums up to so many in the same order."""


def row_sum(values: Floats) -> Floats:
    """Sum each row [rows, columns]."""
    return np.asarray(reduce(np.add, values.T) if 0 < values.shape[1] <= FEW else values.sum(axis=1))


def row_max(values: Floats) -> Floats:
    """The largest value of each row; not a number where one of them is none."""
    return np.asarray(reduce(np.maximum, values.T) if 0 < values.shape[1] <= FEW else values.max(axis=1))


def row_finite(values: Floats) -> npt.NDArray[np.bool_]:
    """Whether all values of each row are finite."""
    finite = np.isfinite(values)
    return np.asarray(reduce(np.logical_and, finite.T) if 0 < values.shape[1] <= FEW else finite.all(axis=1))


def row_argmax(values: Floats) -> npt.NDArray[np.int64]:
    """Where each row's largest value stands, the first one of equal ones; all must be finite."""
    if not 0 < values.shape[1] <= FEW:
        return np.asarray(values.argmax(axis=1), dtype=np.int64)
    best, place = values[:, 0], np.zeros(len(values), dtype=np.int64)
    for column in range(1, values.shape[1]):
        higher = values[:, column] > best
        place[higher] = column
        best = np.where(higher, values[:, column], best)
    return place
