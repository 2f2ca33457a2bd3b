"""Windows: by rows and by time, and what the first model learns from."""

from datetime import UTC, datetime, timedelta

import pytest
from pandas import DataFrame, Series, Timestamp, to_timedelta

from mlops.core.stream import StreamError, cut, parse_length
from mlops.core.windows import EPOCH


@pytest.mark.parametrize(
    ("text", "length"), [("1000", 1000), ("12h", timedelta(hours=12)), ("1d", timedelta(1)), ("2w", timedelta(14))]
)
def test_lengths_are_read(text: str, length: object) -> None:
    assert parse_length(text) == length


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "1m", "", "week", "9999999999"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(StreamError, match="no length"):
        parse_length(text)


def _frame(rows: int) -> DataFrame:
    return DataFrame({"x": range(rows)})


def test_windows_of_rows_cover_every_row_once() -> None:
    stream = cut(_frame(1050), None, 100, None, EPOCH)
    assert [window.rows for window in stream.windows] == [100] * 10 + [50]
    assert stream.learnt == 2
    assert stream.judged[0].number == 3
    assert stream.judged[0].start == 200


def test_a_short_rest_belongs_to_the_last_window() -> None:
    stream = cut(_frame(1049), None, 100, 250, EPOCH)
    assert [window.rows for window in stream.windows] == [100] * 9 + [149]
    assert stream.learnt == 3, "whole windows of at least 250 rows"


def test_windows_of_time_begin_where_they_are_told_and_skip_empty_ones() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    times = Series(Timestamp(start) + to_timedelta([0, 1, 6, 7, 8, 22, 23, 29, 35], unit="D"))
    stream = cut(_frame(9), times, timedelta(7), timedelta(7), start)
    assert [(window.start, window.stop) for window in stream.windows] == [(0, 3), (3, 5), (5, 7), (7, 8), (8, 9)]
    assert stream.windows[2].name == "2026-01-26T0000"
    assert stream.learnt == 2, "the first window ends a day too early to count as seven"


@pytest.mark.parametrize(
    ("length", "learnt", "said"),
    [
        (timedelta(1), None, "needs times"),
        (80, None, "fewer than two are left to judge"),
        (10, 95, "fewer than two are left to judge"),
        (10, timedelta(1), "needs times"),
    ],
)
def test_what_cannot_be_cut_is_said(length: int | timedelta, learnt: int | timedelta | None, said: str) -> None:
    with pytest.raises(StreamError, match=said):
        cut(_frame(100), None, length, learnt, EPOCH)
