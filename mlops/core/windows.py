"""Windows: slices of production by time or by count, each with a name by which the ledger knows it.

By time, a window is a fixed interval of event time (of request time without a time column), so its
bounds need no record. By count, it is so many rows in the order in which they were answered; where
it ended is recorded when it is closed, so that a row which arrives late moves no other bound.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pandas as pd

from mlops.core.labels import REQUEST_ID, REQUEST_TIME
from mlops.core.schema import Schema
from mlops.core.verdict import Verdict
from mlops.spec import Drift

EPOCH = datetime(1970, 1, 5, tzinfo=UTC)
"""Windows are counted from a Monday unless the spec names another start."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of production; ``name`` is its subject in the ledger."""

    name: str
    start: datetime
    """By time: the first moment in. By count: the request time of the first row."""
    end: datetime
    """By time: the first moment out. By count: the request time of the last row."""
    after: str = ""
    """By count: the place (``places``) of the last row before it; empty by time and in the first one."""
    last: str = ""
    """By count: the place of its last row; empty by time."""


def clock(schema: Schema) -> str:
    """Name the column that tells a row's time: the event's, else the request's."""
    return schema.time or REQUEST_TIME


def places(rows: pd.DataFrame) -> pd.Series:
    """Give each answered row its place in the order of answers: request time, then request id, as text."""
    times = pd.to_datetime(rows[REQUEST_TIME], utc=True).dt.strftime("%Y-%m-%dT%H:%M:%S.%f")
    return times + " " + rows[REQUEST_ID].astype(str)


def by_time(rows: pd.DataFrame, schema: Schema, policy: Drift, until: datetime) -> list[Window]:
    """List the windows that hold rows and are over, oldest first.

    Args:
        rows: answered requests.
        schema: names the clock.
        policy: ``window_days`` and ``start``.
        until: windows that end later are not over.
    """
    if rows.empty:
        return []
    start, length = policy.start or EPOCH, timedelta(days=policy.window_days)
    numbers = ((rows[clock(schema)] - start) // length).unique()
    found = [_interval(start + int(number) * length, length) for number in sorted(numbers)]
    return [window for window in found if window.end <= until]


def by_count(rows: pd.DataFrame, size: int, last: Window | None, number: int) -> Window | None:
    """Cut the next window of ``size`` rows; none while there are fewer.

    Args:
        rows: answered requests, at least all since ``last``.
        size: rows of a window.
        last: the window that was closed last; what lies before its end is late and in no later window.
        number: of the new window, counted from 1.
    """
    if rows.empty:
        return None
    place = places(rows)
    after = last.last if last else ""
    open_rows = rows.assign(_place=place)[place > after].sort_values("_place").head(size)
    if len(open_rows) < size:
        return None
    first, final = (open_rows[REQUEST_TIME].iloc[at].to_pydatetime() for at in (0, -1))
    return Window(
        name=f"prod-rows-{number:06d}", start=first, end=final, after=after, last=str(open_rows["_place"].iloc[-1])
    )


def inside(rows: pd.DataFrame, window: Window, schema: Schema) -> pd.DataFrame:
    """Select a window's rows, late ones that have come by now included."""
    if window.last:
        place = places(rows)
        chosen = (place > window.after) & (place <= window.last)
    else:
        times = rows[clock(schema)]
        chosen = (times >= window.start) & (times < window.end)
    return rows[chosen].reset_index(drop=True)


def is_final(verdict: Verdict, age_days: float, policy: Drift) -> bool:
    """Say whether a verdict stands: it does unless it waits for labels that may still come.

    One that waits for labels is provisional until ``label_patience_days`` after they should have come
    (``label_delay_days`` after the window's end); then what has come is all there is.
    """
    return verdict.waits_for != "labels" or age_days >= policy.label_delay_days + policy.label_patience_days


def small_before(history: Sequence[tuple[Window, Verdict]]) -> list[Window]:
    """List the windows before this one whose rows are judged together with it: the small ones just before.

    Args:
        history: earlier windows with their standing verdicts, oldest first.
    """
    small: list[Window] = []
    for window, verdict in reversed(history):
        if verdict.waits_for != "rows":
            break
        small.insert(0, window)
    return small


def _interval(start: datetime, length: timedelta) -> Window:
    return Window(name=f"prod-{start:%Y-%m-%dT%H%M}", start=start, end=start + length)
