"""Columns in few numbers: what the reference keeps of each, and a window read beside it in one pass."""

import zlib
from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.core.arrays import Counts, Floats
from mlops.core.fingerprint import RowHashes
from mlops.core.schema import Column

EDGES = 512
"""Most quantile edges kept of a number, and most values kept of a category."""
SAMPLE = 3000
"""Most rows kept for tests of several columns together."""
CODES = 254
"""Most different values that such a row tells apart; 0 is missing, 255 any other category."""
CHUNK = 1 << 14
"""Rows read at once, from the cache: large windows are read in one pass without a copy of them."""


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """A numeric column; ``counts[i]`` finite values lie in (``edges[i-1]``, ``edges[i]``]."""

    rows: int
    missing: int
    """Missing and infinite values."""
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float | None = None


class Categories(msgspec.Struct, frozen=True, tag="categories"):
    """A categorical column: its most frequent values, and how many rows hold rarer ones."""

    rows: int
    missing: int
    counts: dict[str, int]
    other: int = 0


class Sample(msgspec.Struct, frozen=True):
    """Rows by the position of their values: a byte each, columns one after another, compressed."""

    rows: int
    columns: tuple[str, ...]
    data: bytes

    def codes(self) -> npt.NDArray[np.uint8]:
        """The rows as codes [rows, columns]."""
        flat = np.frombuffer(zlib.decompress(self.data), dtype=np.uint8)
        return flat.reshape(len(self.columns), self.rows).T


class Reading(NamedTuple):
    """One column of a window, read once."""

    rows: int
    missing: int
    counts: Counts
    """Of a number: in the reference's bins."""
    texts: Counter[str]
    """Of a category: rows by value."""
    low: float
    high: float
    mean: float


def profile(column: Column, values: pd.Series, hashes: RowHashes) -> Numbers | Categories:
    """Profile a column of the training rows, and add its part to every row's hash."""
    if column.type == "category":
        codes, texts = factorized(values)
        hashes.add_codes(codes, texts)
        counted = dict(zip(texts, np.bincount(codes[codes >= 0], minlength=len(texts)).tolist(), strict=True))
        ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        other = sum(count for _, count in ranked[EDGES:])
        return Categories(len(values), int((codes < 0).sum()), dict(ranked[:EDGES]), other)
    numbers = numeric(values)
    hashes.add_numbers(numbers, 0)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return Numbers(len(values), len(values), (), (0,))
    quantiles = np.quantile(finite, np.linspace(0, 1, EDGES - 1), method="inverted_cdf")
    # The first bin stays empty, so that values below the smallest one show.
    edges = np.unique([np.nextafter(quantiles[0], -np.inf), *quantiles])
    counts = np.bincount(np.searchsorted(edges, finite), minlength=len(edges) + 1)
    mean = float((finite / len(finite)).sum())
    return Numbers(len(values), len(values) - len(finite), tuple(edges.tolist()), tuple(counts.tolist()), mean)


def read(before: Numbers | Categories, values: pd.Series, hashes: RowHashes) -> Reading:
    """Read a column once: counts beside the reference's, and its part of every row's hash."""
    if isinstance(before, Categories):
        codes, texts = factorized(values)
        hashes.add_codes(codes, texts)
        counts = np.bincount(codes + 1, minlength=len(texts) + 1)
        found = Counter({text: int(count) for text, count in zip(texts, counts[1:], strict=True) if count})
        return Reading(len(values), int(counts[0]), np.empty(0, np.int64), found, 0.0, 0.0, 0.0)
    return _read_numbers(np.asarray(before.edges), numeric(values), hashes)


def numeric(values: pd.Series) -> Floats:
    """A column as float64, without a copy where it is that already; what is no number is missing."""
    if values.dtype != np.float64:
        values = pd.to_numeric(values, errors="coerce")
    return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))


def factorized(values: pd.Series) -> tuple[Counts, list[str]]:
    """A column as codes into its different texts, -1 for missing."""
    codes, different = pd.factorize(values)
    texts = [str(each) for each in different]
    if len(set(texts)) < len(texts):  # 1 and "1" in one column
        again, unique = pd.factorize(np.array(texts, dtype=object))
        codes, texts = np.where(codes < 0, -1, again[codes]), [str(each) for each in unique]
    return np.asarray(codes, dtype=np.int64), texts


def row_codes(frame: pd.DataFrame, columns: dict[str, Numbers | Categories]) -> npt.NDArray[np.uint8]:
    """Code rows by the position of their values in the reference [rows, columns]."""
    return np.column_stack([_codes(before, frame[name]) for name, before in columns.items()])


def chosen(rows: int, most: int) -> Counts:
    """Positions of at most so many rows, spread at random, the same every time, in order."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))


def sample(frame: pd.DataFrame, columns: dict[str, Numbers | Categories]) -> Sample:
    """Keep a bounded choice of rows, as codes."""
    rows = frame.iloc[chosen(len(frame), SAMPLE)]
    codes = row_codes(rows, columns) if columns else np.empty((len(rows), 0), np.uint8)
    return Sample(len(rows), tuple(columns), zlib.compress(np.ascontiguousarray(codes.T).tobytes()))


def _read_numbers(edges: Floats, values: Floats, hashes: RowHashes) -> Reading:
    counts = np.zeros(len(edges) + 1, dtype=np.int64)
    low, high, total, known = np.inf, -np.inf, 0.0, 0
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        hashes.add_numbers(chunk, start)
        finite = np.isfinite(chunk)
        if not finite.all():
            chunk = chunk[finite]
        if len(chunk):
            # Sorting, which the processor's vectors do, and then finding the edges is quicker than finding each value.
            ranked = np.sort(chunk)
            counts += np.diff(np.searchsorted(ranked, edges, side="right"), prepend=0, append=len(ranked))
            low, high = min(low, float(ranked[0])), max(high, float(ranked[-1]))
            total, known = total + float((chunk / len(values)).sum()), known + len(chunk)
    mean = float(np.clip(total / known * len(values), low, high)) if known else np.nan
    return Reading(len(values), len(values) - known, counts, Counter(), low, high, mean)


def _codes(before: Numbers | Categories, values: pd.Series) -> npt.NDArray[np.uint8]:
    if isinstance(before, Categories):
        codes, texts = factorized(values)
        place = {text: rank + 1 for rank, text in enumerate(list(before.counts)[:CODES])}
        table = np.array([0, *(place.get(text, CODES + 1) for text in texts)], dtype=np.uint8)
        return np.asarray(table[codes + 1])
    numbers = numeric(values)
    bins = np.searchsorted(before.edges, numbers) * CODES // (len(before.edges) + 1)
    return np.where(np.isfinite(numbers), bins + 1, 0).astype(np.uint8)
