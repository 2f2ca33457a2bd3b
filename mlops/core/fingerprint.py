"""Rows in few bytes, by which a window that repeats another one, or itself, is known."""

import hashlib
import itertools
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from mlops.core.arrays import Counts, Floats

Hashes = npt.NDArray[np.uint64]

SMALLEST = 64
REPEATED_SHARE = 0.05
"""Smallest share of repeated rows that is a batch sent twice."""
NATURAL = 0.02
"""Rows that repeat by chance more often than this cannot tell a batch sent twice."""
OVERLAP = 0.2
"""Smallest share of common rows that is a feed sent again: half of a window repeated gives a third."""


class Fingerprint(msgspec.Struct, frozen=True):
    """Rows in few bytes, by hashes of the features."""

    rows: int
    digest: str
    """Of the rows in their order."""
    smallest: tuple[int, ...]
    """The smallest row hashes: a sample by which overlap is estimated (Broder, 1997)."""
    twins: float
    """Chance that two different rows hold the same values."""
    repeated: float = 0.0
    """Share of the rows that repeat an earlier one."""


class RowHashes:
    """Hashes of rows, built column by column: h ← h · odd + mixed bits of the value, modulo 2⁶⁴."""

    def __init__(self, rows: int) -> None:
        self._hashes = np.zeros(rows, dtype=np.uint64)

    def add_numbers(self, values: Floats, start: int) -> None:
        """Add a number's column, or a part of it that begins at row ``start``."""
        known = values + 0.0  # -0.0 is 0.0, and the caller's values stay as they are
        known[np.isnan(known)] = np.nan
        self._add(known.view(np.uint64), start)

    def add_codes(self, codes: Counts, texts: Sequence[str]) -> None:
        """Add a category's column: codes into its texts, -1 for missing."""
        digests = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in ["", *texts]]
        self._add(np.array(digests, dtype=np.uint64)[codes + 1], 0)

    def fingerprint(self) -> Fingerprint:
        """Finish the hashes."""
        mixed = _mixed(_mixed(self._hashes) * np.uint64(0x9E3779B97F4A7C15))
        rows = len(mixed)
        different, counts = np.unique(mixed, return_counts=True)
        pairs = float((counts.astype(np.float64) * (counts - 1)).sum())
        return Fingerprint(
            rows=rows,
            digest=hashlib.blake2b(mixed.tobytes(), digest_size=12).hexdigest(),
            smallest=tuple(different[:SMALLEST].tolist()),
            twins=pairs / max(1, rows * (rows - 1)),
            repeated=1 - len(different) / max(1, rows),
        )

    def _add(self, bits: Hashes, start: int) -> None:
        part = self._hashes[start : start + len(bits)]
        part *= np.uint64(0xBF58476D1CE4E5B9)
        part += _mixed(bits)


def overlap(one: Fingerprint, other: Fingerprint) -> float:
    """Estimate which share of the different rows of two windows occurs in both (Jaccard's index)."""
    smallest = sorted({*one.smallest, *other.smallest})[:SMALLEST]
    both = set(one.smallest) & set(other.smallest)
    return len(both & set(smallest)) / max(1, len(smallest))


def frozen(now: Fingerprint, past: Sequence[Fingerprint]) -> float | None:
    """Return the share of the latest past window's rows that came again, if that is no chance.

    The same rows in the same order are always a feed that stands still. A part of them is one only where
    windows before did not overlap: customers scored every night repeat their rows, and that is no fault.
    """
    if not past or not now.rows:
        return None
    if len(set(now.smallest)) > 1 and now.digest == past[-1].digest:
        return 1.0
    earlier = [overlap(*pair) for pair in itertools.pairwise(past)]
    shared = overlap(now, past[-1])
    natural = min(earlier, default=1.0)
    return shared if shared >= OVERLAP and natural < OVERLAP / 4 and now.twins * now.rows < 1 else None


def duplicated(now: Fingerprint, reference: Fingerprint | None, past: Sequence[Fingerprint]) -> float | None:
    """Return the share of rows that repeat an earlier row of the window, if that is beyond what rows do by chance.

    Chance repeats are known from how often two rows of the reference, and of past windows, are equal.
    Where few different rows are possible a copy cannot be told from chance, and nothing is returned.
    """
    if reference is None or reference.rows < 2:
        return None
    seldom = 3 / (reference.rows * (reference.rows - 1) / 2)  # none seen: 95 % sure that it is below this
    pairs = now.rows * (now.rows - 1) / 2
    chance = max(reference.twins, seldom) * pairs
    usual = max((each.repeated for each in past), default=0.0)
    if reference.twins * pairs > NATURAL * now.rows or now.repeated < max(REPEATED_SHARE, 2 * usual):
        return None
    return now.repeated if now.twins * pairs > 2 * chance + 10 else None


def _mixed(bits: Hashes) -> Hashes:
    return np.asarray(bits ^ (bits >> np.uint64(29)))
