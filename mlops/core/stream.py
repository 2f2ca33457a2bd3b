"""A labelled past cut into windows, in the order in which it happened."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from pandas import DataFrame, Series, Timestamp

FEWEST_ROWS = 100
"""Rows of a window, at least, where nobody names its length."""
MOST_WINDOWS = 80
"""Windows of a past, about, where nobody names their length."""
TRAINING_SHARE = 0.1
"""Share of the windows that the first model learns from, where nobody says how much."""
LONGEST = timedelta(days=36_525)
"""Longest window of time, a century."""
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

Length = int | timedelta
"""Of a window: rows, or event time."""


class StreamError(ValueError):
    """A past cannot be cut as asked; the message says what to change."""


@dataclass(frozen=True)
class Span:
    """Rows ``start`` to ``stop`` (excluded) of the past; ``number`` counts from 1 at its beginning."""

    number: int
    start: int
    stop: int
    name: str

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start


@dataclass(frozen=True)
class Stream:
    """Typed, labelled rows in the order of their time; the first windows only train the first model."""

    frame: DataFrame
    windows: tuple[Span, ...]
    learnt: int
    """Windows that the first model learns from; all later ones are judged."""

    @property
    def judged(self) -> tuple[Span, ...]:
        """The windows that every policy answers for."""
        return self.windows[self.learnt :]


def parse_length(text: str) -> Length:
    """Read ``1000`` (rows), ``12h``, ``1d`` or ``2w``.

    Raises:
        StreamError: it is none of these.
    """
    found = re.fullmatch(r"([1-9]\d{0,8})([hdw]?)", text.strip())
    if found is None:
        raise StreamError(f"{text!r} is no length: give rows (1000) or time (12h, 1d, 1w)")
    count, unit = int(found[1]), found[2]
    if unit and count > LONGEST / UNITS[unit]:
        raise StreamError(f"{text!r} is longer than a century; give rows (1000) or time (12h, 1d, 1w)")
    return count * UNITS[unit] if unit else count


def cut(frame: DataFrame, times: Series | None, length: Length, learnt: Length | None, start: datetime) -> Stream:
    """Cut rows into windows; those of time without any row do not exist.

    Args:
        frame: typed, labelled rows in order.
        times: their event time, where windows are of time.
        length: of a window.
        learnt: what the first model learns from, whole windows of at least so much; none: a tenth of them.
        start: a moment at which a window of time begins.

    Raises:
        StreamError: time is asked of data without any, or too few windows are left to judge.
    """
    windows = _by_rows(frame, length) if isinstance(length, int) else _by_time(times, length, start)
    first = _windows_of(learnt, windows, times) if learnt else math.ceil(len(windows) * TRAINING_SHARE)
    if len(windows) - first < 2:
        raise StreamError(
            f"{len(frame)} rows make {len(windows)} windows of {_shown(length)}, the first {first} of which train"
            " the first model: fewer than two are left to judge. Give more data, or a shorter --window or --train"
        )
    return Stream(frame, tuple(windows), first)


def default_rows(rows: int) -> int:
    """Return a length of windows for data of so many rows."""
    return max(FEWEST_ROWS, rows // MOST_WINDOWS)


def _by_rows(frame: DataFrame, length: int) -> list[Span]:
    # A last part of a window is judged too, unless it is too small to say anything.
    starts = range(0, len(frame), length)
    ends = [min(start + length, len(frame)) for start in starts]
    if len(ends) > 1 and ends[-1] - starts[-1] < length / 2:
        ends = [*ends[:-2], ends[-1]]
    return [
        Span(number, start, stop, f"rows {start + 1} to {stop}")
        for number, (start, stop) in enumerate(zip(starts, ends, strict=False), 1)
    ]


def _by_time(times: Series | None, length: timedelta, start: datetime) -> list[Span]:
    if times is None:
        raise StreamError(f"a window of {_shown(length)} needs times: name their column with --time")
    numbers = ((times - Timestamp(start)) // length).to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    return [
        Span(number, first, stop, f"{Timestamp(start) + int(numbers[first]) * length:%Y-%m-%dT%H%M}")
        for number, (first, stop) in enumerate(pairwise(edges), 1)
    ]


def _windows_of(learnt: Length, windows: Sequence[Span], times: Series | None) -> int:
    """Count the first windows that hold so much."""
    if isinstance(learnt, int):
        return next((at for at, window in enumerate(windows, 1) if window.stop >= learnt), len(windows))
    if times is None:
        raise StreamError(f"to train on {_shown(learnt)} needs times: name their column with --time")
    # A window that began an hour before the first row counts as whole.
    begun = times.iloc[0]
    spans = (times.iloc[window.stop - 1] - begun for window in windows)
    return next((at for at, span in enumerate(spans, 1) if span >= learnt * 0.95), len(windows))


def _shown(length: Length) -> str:
    return f"{length} rows" if isinstance(length, int) else f"{length / timedelta(days=1):g} days"
