"""Columns that the verdict does not compare: times of two tables, and whatever has lost all its values."""

import pandas as pd
from pandas import Series

from mlops.core.inference import is_time, zoned
from mlops.core.sentences import called, plain

FEW = 31
"""Different times of the reference from which on a single one in the current table is a clock that stands still."""


def broken_times(name: str, before: Series, now: Series) -> list[str]:
    """Say in sentences what is broken in a column that is no feature.

    Args:
        name: of the column.
        before: the reference's stripped text.
        now: the current table's.
    """
    known, here = before[before != ""], now[now != ""]
    if known.empty:
        return []
    where = f"Column {called(name)}: "
    if here.empty:
        return [f"{where}every value is missing; repair its source or the join that brings it."]
    if not is_time(known).all():
        return []
    found = []
    if len(known) == len(before) and len(here) < len(now):
        row = int((now == "").to_numpy().argmax()) + 1
        found.append(f"{where}row {row} has no time ({len(now) - len(here)} such rows); mend its source.")
    times = _parsed(here)
    if times.isna().any():
        first = times.index[times.isna()][0]
        return [
            *found,
            f"{where}row {int(str(first)) + 1} has {plain(str(here[first]))!r}, which is not a time (ISO 8601, such as"
            f" 2013-02-20T12:00:00Z; {int(times.isna().sum())} such rows); mend its source.",
        ]
    return [*found, *(where + each for each in _changed(known, here, times))]


def _changed(known: Series, here: Series, times: Series) -> list[str]:
    """Say how times that can be read differ from the reference's."""
    found = []
    had, have = zoned(known), zoned(here)
    if had.all() and not have.all():
        row, rows = int(str(here.index[~have][0])) + 1, int((~have).sum())
        found.append(
            f"row {row} has {here[~have].iloc[0]!r}, a time without a zone ({rows} such rows), the reference's times"
            " have one: nobody can tell whether they mean the same; mend its source."
        )
    elif have.any() and not had.any():
        found.append("its times have a zone, the reference's have none; mend either source.")
    if len(here) > 1 and here.nunique() == 1 and known.nunique() > FEW:
        found.append(f"every row holds {here.iloc[0]}; check whether its source is stuck.")
    earlier = _parsed(known)
    if not earlier.isna().any() and earlier.is_monotonic_increasing and not times.is_monotonic_increasing:
        found.append("its times are out of order, in the reference they are in order.")
    return found


def _parsed(text: Series) -> Series:
    return pd.to_datetime(text.where(is_time(text)), utc=True, format="ISO8601", errors="coerce")
