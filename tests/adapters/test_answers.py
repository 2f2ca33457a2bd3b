"""The answers of a step, counted from the prediction log while it grows."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops.adapters.answers import LoggedAnswers
from mlops.adapters.store import FolderStore


class Log:
    """A prediction log with one object for each call."""

    def __init__(self, store: FolderStore) -> None:
        self.store = store
        self.objects = 0

    def add(self, *rows: tuple[int, str, str], environment: str = "prod", age: timedelta = timedelta()) -> None:
        """Log rows of generation, role and class, as written some time ago, filed under the day or the one before."""
        names = ["_generation", "_role", "_predicted"]
        data = io.BytesIO()
        pq.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], names=names), data)
        self.objects += 1
        written = datetime.now(UTC) - age
        folder = f"iris/predictions/date={written.date()}"
        self.store.put(f"{folder}/{environment}-{written:%Y%m%dT%H%M%S%f}-{self.objects}.parquet", data.getvalue())


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(FolderStore(tmp_path))


def test_what_is_new_is_counted_once_by_role_and_class(log: Log) -> None:
    log.add((2, "champion", "0"))
    answers = LoggedAnswers(log.store, "iris", "prod", keep_rows=True)
    log.add((2, "champion", "0"), (2, "champion", "0"), (2, "canary", "1"), (2, "shadow", "2"), (1, "champion", "1"))
    log.add((2, "canary", "1"), environment="uat")
    answers.read()
    log.add((2, "canary", "0"))
    for _ in range(2):
        answers.read()
    assert answers.classes(2) == {"0": (2, 1), "1": (0, 1)}
    assert answers.classes(3) == {}
    frame = answers.frame(2)
    assert frame is not None
    assert sorted(frame["_role"]) == ["canary", "canary", "champion", "champion", "shadow"]


def test_a_long_history_is_not_looked_through(log: Log) -> None:
    answers = LoggedAnswers(log.store, "iris", "prod")
    log.add((2, "champion", "0"), age=timedelta(hours=3))
    log.add((2, "champion", "1"), age=timedelta(minutes=50))
    log.add((2, "champion", "2"), age=timedelta(minutes=-4))
    answers.read()
    assert answers.classes(2) == {"1": (1, 0), "2": (1, 0)}
    assert answers.frame(2) is None
