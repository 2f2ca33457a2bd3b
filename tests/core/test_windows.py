"""Windows: every row in exactly one, whatever the order in which rows come."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.core import windows
from mlops.core.schema import Column, Schema, Target
from mlops.core.verdict import Verdict
from mlops.core.windows import Window
from mlops.spec import Drift

TARGET = Target("y", ("a", "b"))
TIMED = Schema(columns=(Column("sent", "time"), Column("x", "number")), target=TARGET)
TIMELESS = Schema(columns=(Column("x", "number"),), target=TARGET)
START = datetime(2026, 3, 2, tzinfo=UTC)


def rows(seconds: list[int]) -> pd.DataFrame:
    """Rows answered at these seconds, each about an event a day earlier."""
    times = pd.to_datetime([START + timedelta(seconds=each) for each in seconds], utc=True)
    return pd.DataFrame(
        {"_request_id": [f"r{at}" for at in range(len(seconds))], "_time": times, "sent": times - pd.Timedelta(days=1)}
    )


def verdict(waits_for: str = "", decision: str = "wait") -> Verdict:
    return Verdict(verdict=decision, reasons=(), version="1", rows=5, labelled=0, waits_for=waits_for)  # type: ignore[arg-type]


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.floats(0.01, 3))
def test_by_time_each_row_is_in_one_window(seconds: list[int], days: float) -> None:
    frame, policy = rows(seconds), Drift(window_days=days)
    found = windows.by_time(frame, TIMED, policy, START + timedelta(days=99))
    inside = pd.concat([windows.inside(frame, window, TIMED) for window in found])
    assert sorted(inside["_request_id"]) == sorted(frame["_request_id"])
    assert all(first.end <= then.start for first, then in pairwise(found))
    assert all(len(windows.inside(frame, window, TIMED)) for window in found)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 9))
def test_by_count_each_window_is_full_and_no_row_is_in_two(seconds: list[int], size: int) -> None:
    frame = rows(seconds)
    found: list[Window] = []
    while window := windows.by_count(frame, size, found[-1] if found else None, len(found) + 1):
        found.append(window)
    assert len(found) == len(seconds) // size
    inside = [windows.inside(frame, window, TIMELESS) for window in found]
    assert [len(each) for each in inside] == [size] * len(found)
    ids = [row for each in inside for row in each["_request_id"]]
    assert len(set(ids)) == len(ids)
    shuffled = frame.sample(frac=1, random_state=1).reset_index(drop=True)
    assert windows.by_count(shuffled, size, None, 1) == windows.by_count(frame, size, None, 1)


def test_the_clock_is_the_event_and_without_one_the_request() -> None:
    frame = rows([0])
    (by_event,) = windows.by_time(frame, TIMED, Drift(window_days=1), START + timedelta(days=9))
    (by_request,) = windows.by_time(frame, TIMELESS, Drift(window_days=1), START + timedelta(days=9))
    assert (by_event.start, by_request.start) == (START - timedelta(days=1), START)
    assert by_request.name == "prod-2026-03-02T0000"


def test_a_window_is_closed_once_it_is_over() -> None:
    policy = Drift(window_days=1, start=START)
    day = timedelta(days=1)
    assert windows.by_time(rows([5]), TIMELESS, policy, START + day - timedelta(seconds=1)) == []
    assert len(windows.by_time(rows([5]), TIMELESS, policy, START + day)) == 1
    assert windows.by_time(rows([]), TIMELESS, policy, START + day) == []
    assert windows.by_count(rows([]), 3, None, 1) is None


@pytest.mark.parametrize(
    ("waits_for", "age", "final"),
    [("", 0, True), ("rows", 0, True), ("labels", 0, False), ("labels", 4.9, False), ("labels", 5, True)],
)
def test_a_verdict_that_waits_for_labels_stands_when_patience_ends(waits_for: str, age: float, final: bool) -> None:
    policy = Drift(label_delay_days=2, label_patience_days=3)
    assert windows.is_final(verdict(waits_for), age, policy) is final


def test_small_windows_just_before_are_judged_with_the_next() -> None:
    named = [
        Window(name=str(day), start=START + timedelta(days=day), end=START + timedelta(days=day + 1))
        for day in range(4)
    ]
    given_ = [verdict("rows"), verdict(decision="ok"), verdict("rows"), verdict("rows")]
    history = list(zip(named, given_, strict=True))
    assert [window.name for window in windows.small_before(history)] == ["2", "3"]
    assert windows.small_before(history[:2]) == []
    assert windows.small_before([]) == []


def test_places_order_as_time_does() -> None:
    seconds = np.random.default_rng(1).integers(0, 10**7, 50).tolist()
    frame = rows(seconds).assign(_place=lambda frame: windows.places(frame))
    assert frame.sort_values("_place")["_time"].is_monotonic_increasing
