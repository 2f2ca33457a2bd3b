"""Rows reach the store behind the answers: in order, once, and counted when they do not."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from mlops.adapters.prediction_log import (
    PredictionLog,
    feedback_keys,
    prediction_keys,
    read_feedback,
    read_object,
    read_predictions,
)
from mlops.adapters.prediction_tables import Labels, Predictions, prediction_fields
from mlops.adapters.store import FolderStore
from mlops.core.schema import Column, Schema, Target

SCHEMA = Schema(
    (
        Column("when", "time"),
        Column("kind", "category", nullable=True),
        Column("size", "number", nullable=True),
        Column("count", "integer"),
    ),
    Target("y", ("0", "1")),
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class FlakyStore(FolderStore):
    """A folder whose puts fail while ``away``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.away = False
        self.tries = 0

    def put(self, key: str, data: bytes) -> str:
        self.tries += 1
        if self.away:
            raise OSError("the store is away")
        return super().put(key, data)


@pytest.fixture
def store(tmp_path: Path) -> FlakyStore:
    return FlakyStore(tmp_path / "store")


def spool(tmp_path: Path, environment: str = "prod") -> Path:
    """The folder of an environment's spool."""
    return tmp_path / "spool" / environment


@pytest.fixture
def open_log(store: FlakyStore, tmp_path: Path) -> Iterator[Callable[..., PredictionLog]]:
    opened: list[PredictionLog] = []

    def open_log(environment: str = "prod", **options: Any) -> PredictionLog:
        opened.append(
            PredictionLog(store, "m", environment, spool(tmp_path, environment), **({"retry_seconds": 0.01} | options))
        )
        opened[-1].start()
        return opened[-1]

    yield open_log
    store.away = False
    for log in opened:
        log.close(timeout=1)


def predictions(*ids: str, at: datetime = NOON, schema: Schema = SCHEMA) -> Predictions:
    row: list[object] = [NOON, None, 1.5, 2.0]
    return Predictions(
        schema=schema,
        request_ids=ids,
        time=at,
        generation=4,
        version="7",
        digest="abc",
        role="champion",
        predicted=["1"] * len(ids),
        probabilities=[[0.25, 0.75]] * len(ids),
        rows=[row[: len(schema.columns)]] * len(ids),
    )


def labels(*ids: str, at: datetime = NOON) -> Labels:
    return Labels(request_ids=ids, time=at, labels=["1"] * len(ids))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_rows_are_read_back_as_they_were_logged(store: FlakyStore, open_log: Any) -> None:
    log = open_log()
    assert log.add(predictions("a", "b"))
    log.close()
    table = read_predictions(store, "m", "prod")
    assert table.schema.equals(prediction_fields(SCHEMA))
    assert table.to_pylist()[1] == {
        "_request_id": "b",
        "_time": NOON,
        "_environment": "prod",
        "_generation": 4,
        "_version": "7",
        "_digest": "abc",
        "_role": "champion",
        "_predicted": "1",
        "_probabilities": [0.25, 0.75],
        "when": NOON,
        "kind": None,
        "size": 1.5,
        "count": 2.0,
    }
    (key,) = prediction_keys(store, "m", "prod")
    assert key.startswith("m/predictions/date=2026-03-01/prod-")
    assert read_object(store, key).equals(table)


def test_every_type_survives_missing_and_odd_values(store: FlakyStore, open_log: Any) -> None:
    rows: list[list[object]] = [
        [datetime(1, 1, 1, tzinfo=UTC), "é\x00漢", -0.1, 1e300],
        [None, None, None, None],
        [datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "", 0.1 + 0.2, 5e-324],
    ]
    log = open_log()
    log.add(msgspec.structs.replace(predictions("a", "b", "c"), rows=rows))
    log.close()
    table = read_predictions(store, "m", "prod")
    table.validate(full=True)
    assert [[row[column.name] for column in SCHEMA.columns] for row in table.to_pylist()] == rows


def test_environments_dates_and_kinds_are_apart(store: FlakyStore, open_log: Any) -> None:
    prod, uat = open_log(), open_log("uat")
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    prod.add(predictions("late", at=NOON))
    prod.add(predictions("early", at=midnight))
    prod.add(labels("late", at=midnight))
    uat.add(predictions("other"))
    uat.add(labels("other"))
    for log in (prod, uat):
        log.close()

    def ids(table: pa.Table) -> list[str]:
        return sorted(table["_request_id"].to_pylist())

    assert ids(read_predictions(store, "m", "prod")) == ["early", "late"]
    assert ids(read_predictions(store, "m", "prod", date(2026, 3, 2))) == ["early"]
    assert ids(read_predictions(store, "m", "uat")) == ["other"]
    assert ids(read_feedback(store, "m")) == ["late", "other"]
    assert ids(read_feedback(store, "m", date(2026, 3, 2))) == ["late"]
    first, second = feedback_keys(store, "m")
    assert {*ids(read_feedback(store, "m", keys=[first])), *ids(read_feedback(store, "m", keys=[second]))} == {
        "late",
        "other",
    }


def test_rows_of_different_schemas_read_as_one_table(store: FlakyStore, open_log: Any) -> None:
    log = open_log()
    log.add(predictions("new"))
    log.add(predictions("old", schema=Schema(SCHEMA.columns[:2], SCHEMA.target)))
    log.close()
    rows = {row["_request_id"]: row for row in read_predictions(store, "m", "prod").to_pylist()}
    assert (rows["new"]["size"], rows["old"]["size"]) == (1.5, None)


def test_without_rows_tables_have_their_columns(store: FlakyStore) -> None:
    assert read_predictions(store, "m", "prod").schema.equals(prediction_fields())
    assert read_predictions(store, "m", "prod", schema=SCHEMA).schema.equals(prediction_fields(SCHEMA))
    empty = read_feedback(store, "m")
    assert (empty.column_names, len(empty)) == (["_request_id", "_time", "_label"], 0)


def test_what_is_queued_is_written_within_the_interval(store: FlakyStore, open_log: Any) -> None:
    log = open_log(flush_seconds=0.05)
    log.add(predictions("a"))
    assert eventually(lambda: log.queued == 0)
    assert len(prediction_keys(store, "m", "prod")) == 1


def test_many_rows_do_not_wait_for_the_interval(store: FlakyStore, open_log: Any) -> None:
    log = open_log(flush_seconds=60, flush_rows=3)
    log.add(predictions("a", "b"))
    log.add(predictions("c"))
    assert eventually(lambda: len(prediction_keys(store, "m", "prod")) == 1)
    assert len(read_predictions(store, "m", "prod")) == 3


def test_rows_wait_for_a_store_that_is_away_and_are_written_once(store: FlakyStore, open_log: Any) -> None:
    store.away = True
    log = open_log(flush_seconds=0.01)
    log.add(predictions("a"))
    assert eventually(lambda: store.tries >= 3)
    log.add(predictions("b"))
    assert log.queued == 2
    store.away = False
    assert eventually(lambda: log.queued == 0)
    assert sorted(read_predictions(store, "m", "prod")["_request_id"].to_pylist()) == ["a", "b"]
    assert log.dropped == 0


def test_rows_beyond_the_bound_of_memory_are_dropped_and_counted(open_log: Any) -> None:
    log = open_log(limit=3, flush_seconds=60)
    assert log.add(predictions("a", "b"))
    assert not log.add(predictions("c", "d"))
    assert log.add(predictions("e"))
    assert not log.add(labels("f"))
    assert (log.queued, log.dropped) == (3, 3)


def test_memory_is_free_again_once_rows_are_on_disk(store: FlakyStore, open_log: Any, tmp_path: Path) -> None:
    store.away = True
    log = open_log(limit=2, flush_seconds=0.01)
    for name in "abcd":
        assert eventually(lambda name=name: log.add(predictions(name)))
    assert eventually(lambda: len(list(spool(tmp_path).glob("*.parquet"))) >= 2)
    store.away = False
    assert eventually(lambda: log.queued == 0)
    assert set(read_predictions(store, "m", "prod")["_request_id"].to_pylist()) == set("abcd")


def test_rows_beyond_the_bound_of_the_spool_are_dropped_and_counted(store: FlakyStore, open_log: Any) -> None:
    store.away = True
    log = open_log(flush_seconds=0.01, spool_bytes=1)
    log.add(predictions("a", "b"))
    assert eventually(lambda: log.dropped == 2)
    assert (log.queued, log.spooled_bytes) == (0, 0)


def test_a_full_spool_refuses_at_once(store: FlakyStore, open_log: Any) -> None:
    store.away = True
    log = open_log(flush_seconds=0.01)
    log.add(predictions("a"))
    assert eventually(lambda: log.spooled_bytes > 0)
    log._spool._limit = log.spooled_bytes
    assert not log.add(labels("b"))
    assert log.dropped == 1


def test_rows_on_disk_at_the_end_are_sent_by_the_next_log_in_order(
    store: FlakyStore, open_log: Any, tmp_path: Path
) -> None:
    store.away = True
    log = open_log(flush_seconds=0.01)
    for name in "ab":
        log.add(predictions(name))
        assert eventually(lambda name=name: len(list(spool(tmp_path).glob("*"))) == "ab".index(name) + 1)
    log.close(timeout=0.1)
    assert (log.queued, log.dropped) == (2, 0)
    assert not log.add(predictions("after the end"))
    assert log.dropped == 1
    assert list(spool(tmp_path).glob("*.parquet"))
    store.away = False
    again = open_log(flush_seconds=0.01)
    again.add(predictions("c"))
    assert eventually(lambda: again.queued == 0)
    assert read_predictions(store, "m", "prod")["_request_id"].to_pylist() == ["a", "b", "c"]
    assert not list(spool(tmp_path).iterdir())


def test_an_object_put_before_a_kill_is_put_again_under_its_key(
    store: FlakyStore, open_log: Any, tmp_path: Path
) -> None:
    store.away = True
    log = open_log(flush_seconds=0.01)
    log.add(predictions("a"))
    assert eventually(lambda: log.spooled_bytes > 0)
    log.close(timeout=0.1)
    (file,) = spool(tmp_path).iterdir()
    left = file.read_bytes()
    store.away = False
    first = open_log()
    assert eventually(lambda: first.queued == 0)
    first.close()
    (key,) = prediction_keys(store, "m", "prod")
    file.write_bytes(left)  # As if it had been killed after the put.
    again = open_log()
    assert eventually(lambda: again.queued == 0)
    assert prediction_keys(store, "m", "prod") == [key]
    assert read_predictions(store, "m", "prod")["_request_id"].to_pylist() == ["a"]


def test_a_store_that_hangs_keeps_no_row_in_memory(store: FlakyStore, open_log: Any, monkeypatch: Any) -> None:
    release, working = threading.Event(), store.put
    monkeypatch.setattr(store, "put", lambda key, data: release.wait(20) and working(key, data))
    log = open_log(flush_seconds=0.01)
    log.add(predictions("a"))
    assert eventually(lambda: log.spooled_bytes > 0)
    before = log.spooled_bytes
    log.add(predictions("b"))
    assert eventually(lambda: log.spooled_bytes > before)
    release.set()
    assert eventually(lambda: log.queued == 0)


def test_strange_files_in_the_spool_stay_and_stop_nothing(store: FlakyStore, open_log: Any, tmp_path: Path) -> None:
    strange = spool(tmp_path) / "notes.txt"
    strange.parent.mkdir(parents=True)
    strange.write_text("not ours")
    log = open_log(flush_seconds=0.01)
    log.add(predictions("a"))
    assert eventually(lambda: len(prediction_keys(store, "m", "prod")) == 1)
    assert strange.read_text() == "not ours"


def test_rows_without_a_parquet_form_end_nothing_else(store: FlakyStore, open_log: Any) -> None:
    log = open_log(flush_seconds=0.01)
    log.add(msgspec.structs.replace(predictions("broken"), rows=[["x"]]))
    assert eventually(lambda: log.dropped == 1)
    log.add(predictions("good"))
    assert eventually(lambda: len(prediction_keys(store, "m", "prod")) == 1)


def test_threads_may_add_at_once(store: FlakyStore, open_log: Any) -> None:
    log = open_log(flush_seconds=0.01)

    def add(name: str) -> None:
        for i in range(200):
            assert log.add(predictions(f"{name}{i}"))

    threads = [threading.Thread(target=add, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    written = read_predictions(store, "m", "prod")["_request_id"].to_pylist()
    assert sorted(written) == sorted(f"{name}{i}" for name in "abcd" for i in range(200))
