"""Rows reach the store behind the answers: in order, once, and counted when they do not."""

import threading
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from mlops.adapters.prediction_log import (
    feedback_keys,
    prediction_keys,
    read_feedback,
    read_predictions,
)
from tests.adapters.logged import NOON, FlakyStore, labels, predictions, spool
from tests.waiting import eventually


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
