"""Slices: the rows that share a value of a category, or a tenth of a number's range."""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from mlops.core.arrays import Counts, Floats
from mlops.core.columns import Categories, Numbers, factorized, numeric
from mlops.core.two_sample import Moments

PARTS = 10
"""Parts of a number with as many training rows each, and most values of a category with a slice of their own."""
MISSING = "missing"
OTHER = "other values"


class Sums(NamedTuple):
    """Rows, sum and sum of squares of one measure by slice."""

    rows: Counts
    total: Floats
    squares: Floats


class Slices(NamedTuple):
    """Each feature's slices: the slice of every row, and what each slice is called."""

    codes: dict[str, Counts]
    names: dict[str, tuple[str, ...]]

    @staticmethod
    def of(columns: dict[str, Numbers | Categories], frame: pd.DataFrame) -> "Slices":
        """Slice typed rows by every feature that they have."""
        codes, names = {}, {}
        for name, before in columns.items():
            if name in frame:
                codes[name], names[name] = _sliced(before, frame[name])
        return Slices(codes, names)

    def sums(self, name: str, values: Floats) -> Sums:
        """Sum a measure [rows] by slice of one feature."""
        codes, size = self.codes[name], len(self.names[name])
        rows = np.bincount(codes, minlength=size)
        return Sums(
            rows,
            np.asarray(np.bincount(codes, weights=values, minlength=size), dtype=np.float64),
            np.asarray(np.bincount(codes, weights=values**2, minlength=size), dtype=np.float64),
        )

    def moments(self, values: Floats) -> dict[str, tuple[Moments, ...]]:
        """Mean and variance of a measure [rows] in every slice."""
        return {name: _moments(self.sums(name, values)) for name in self.codes}


def _moments(sums: Sums) -> tuple[Moments, ...]:
    rows = np.maximum(sums.rows, 1)
    mean = sums.total / rows
    variance = np.maximum(sums.squares / rows - mean**2, 0.0) * rows / np.maximum(rows - 1, 1)
    return tuple(
        Moments(int(count), float(average), float(spread))
        for count, average, spread in zip(sums.rows, mean, variance, strict=True)
    )


def _sliced(before: Numbers | Categories, values: pd.Series) -> tuple[Counts, tuple[str, ...]]:
    if isinstance(before, Categories):
        known = tuple(before.counts)[:PARTS]
        place = {text: position for position, text in enumerate(known)}
        codes, texts = factorized(values)
        table = np.array([len(known) + 1, *(place.get(text, len(known)) for text in texts)])
        return table[codes + 1], (*known, OTHER, MISSING)
    cuts = _cuts(before)
    numbers = numeric(values)
    codes = np.where(np.isfinite(numbers), np.searchsorted(cuts, numbers), len(cuts) + 1)
    return codes, (*_names(cuts), MISSING)


def _cuts(before: Numbers) -> list[float]:
    """Upper bounds of all parts but the last, at the training rows' quantiles."""
    counts = np.asarray(before.counts).cumsum()
    if not before.edges or not counts[-1]:
        return []
    wanted = np.searchsorted(counts, counts[-1] * np.arange(1, PARTS) / PARTS)
    found = sorted({before.edges[min(int(each), len(before.edges) - 1)] for each in wanted})
    return [cut for cut in found if cut < before.edges[-1]]


def _names(cuts: list[float]) -> list[str]:
    if not cuts:
        return ["any value"]
    inner = [f"above {low:.4g} to {high:.4g}" for low, high in itertools.pairwise(cuts)]
    return [f"up to {cuts[0]:.4g}", *inner, f"above {cuts[-1]:.4g}"]
