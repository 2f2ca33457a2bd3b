"""What is logged comes back: every type, order and origin, however it was kept on the way."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from mlops.adapters.arrow_arrays import Coded, Numbered
from mlops.adapters.prediction_blocks import BLOCK_ROWS
from mlops.adapters.prediction_log import (
    prediction_keys,
    read_feedback,
    read_object,
    read_predictions,
)
from mlops.adapters.prediction_tables import Predictions, prediction_fields
from mlops.core.schema import Column, Schema, Target
from tests.adapters.logged import NOON, SCHEMA, FlakyStore, micros, predictions


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


@pytest.mark.parametrize("row", [("x",), (1.0, 2.0), ()])
def test_a_row_that_is_no_row_of_numbers_is_lost_alone(store: FlakyStore, open_log: Any, row: Any) -> None:
    numbers = Schema((Column("a", "number"),), Target("y", ("0", "1")))
    log = open_log(flush_seconds=60)
    for name, values in (("before", (1.0,)), ("broken", row), ("after", (2.0,))):
        log.add(Predictions(numbers, [name], micros(NOON), 4, "7", "abc", "champion", ["1"], [[0.5, 0.5]], [values]))
    log.close()
    found = read_predictions(store, "m", "prod")
    assert (found["_request_id"].to_pylist(), found["a"].to_pylist()) == (["before", "after"], [1.0, 2.0])
    assert log.dropped == 1


def test_requests_and_batches_come_back_in_their_order(store: FlakyStore, open_log: Any) -> None:
    numbers = Schema((Column("a", "number"), Column("b", "integer")), Target("y", ("0", "1")))
    log, at = open_log(), micros(NOON)

    def add(ids: Any, predicted: list[str], probabilities: Any, rows: Any, role: str = "champion") -> None:
        assert log.add(Predictions(numbers, ids, at, 4, "7", "abc", role, predicted, probabilities, rows))

    for i in range(BLOCK_ROWS + 2):  # More than one block of single requests.
        add([f"one-{i}"], ["0"], [[0.75, 0.25]], [(i, 2)])
    matrix = np.array([[0.5, 1], [1.5, 2], [2.5, 3]])
    add(Numbered("é" * 3, 3), ["1", "0", "1"], np.array([[0, 1], [1, 0], [0.25, 0.75]], np.float32), matrix, "canary")
    add(["last"], ["1"], [[0.0, 1.0]], [(9.5, 4)])
    log.close()
    rows = read_predictions(store, "m", "prod").to_pylist()
    assert [row["_request_id"] for row in rows[-5:]] == [f"one-{BLOCK_ROWS + 1}", "ééé.0", "ééé.1", "ééé.2", "last"]
    assert [row["a"] for row in rows] == [*range(BLOCK_ROWS + 2), 0.5, 1.5, 2.5, 9.5]
    assert [row["b"] for row in rows[-4:]] == [1, 2, 3, 4]
    assert [row["_role"] for row in rows[-5:]] == ["champion", "canary", "canary", "canary", "champion"]
    assert [row["_predicted"] for row in rows[-4:]] == ["1", "0", "1", "1"]
    assert rows[-2]["_probabilities"] == [0.25, 0.75]
    assert {row["_time"] for row in rows} == {NOON}


def test_rows_of_another_version_role_or_day_keep_their_own(store: FlakyStore, open_log: Any) -> None:
    numbers = Schema((Column("a", "number"),), Target("y", ("0", "1")))
    log, night = open_log(), datetime(2026, 3, 2, tzinfo=UTC)
    told = [
        (NOON, 4, "7", "champion"), (NOON, 4, "7", "champion"), (NOON, 4, "8", "canary"), (NOON, 5, "8", "canary"),
        (NOON, 5, "8", "champion"), (night, 5, "8", "champion"), (night, 5, "8", "champion"),
    ]  # fmt: skip
    for number, (at, generation, version, role) in enumerate(told):
        digest, ids, rows = f"digest of {version}", [f"r{number}"], [(number,)]
        entry = (numbers, ids, micros(at), generation, version, digest, role, [f"{number % 2}"], [[0.5, 0.5]], rows)
        assert log.add(Predictions(*entry))
    assert log.queued == len(told)
    log.close()
    found = read_predictions(store, "m", "prod").to_pylist()
    assert [(r["_time"], r["_generation"], r["_version"], r["_role"]) for r in found] == told
    assert [r["_digest"] for r in found] == [f"digest of {version}" for _, _, version, _ in told]
    assert [(r["_request_id"], r["a"], r["_predicted"]) for r in found] == [
        (f"r{number}", number, f"{number % 2}") for number in range(len(told))
    ]


def test_champion_and_shadow_in_turn_become_one_object_each(store: FlakyStore, open_log: Any) -> None:
    """Each bundle has a schema of its own, and the two may describe the same columns."""
    champion, shadow = (Schema((Column("a", "number"),), Target("y", ("0", "1"))) for _ in range(2))
    log, at = open_log(flush_seconds=60), micros(NOON)
    for number in range(100):
        for schema, role in ((champion, "champion"), (shadow, "shadow")):
            entry = (schema, [f"r{number}"], at, 4, "7", "abc", role, ["1"], [[0.25, 0.75]], [(number,)])
            assert log.add(Predictions(*entry))
    log.close()
    assert len(prediction_keys(store, "m", "prod")) == 2
    found = read_predictions(store, "m", "prod").to_pylist()
    for role in ("champion", "shadow"):
        assert [row["a"] for row in found if row["_role"] == role] == list(range(100))


def test_numbers_that_are_missing_stay_missing_among_others(store: FlakyStore, open_log: Any) -> None:
    numbers = Schema((Column("a", "number", nullable=True), Column("b", "integer")), Target("y", ("0", "1")))
    log, at = open_log(), micros(NOON)
    rows = [(1.5, 2), (None, 3)]
    log.add(Predictions(numbers, ["x", "y"], at, 4, "7", "abc", "champion", ["0", "1"], [[1.0, 0.0]] * 2, rows))
    log.add(Predictions(numbers, ["z"], at + 5, 5, "8", "def", "champion", ["1"], [[0.0, 1.0]], [(2.5, 4)]))
    log.close()
    found = read_predictions(store, "m", "prod")
    assert found["a"].to_pylist() == [1.5, None, 2.5]
    assert found["b"].to_pylist() == [2, 3, 4]
    assert [found[name].to_pylist() for name in ("_generation", "_version", "_digest")] == [
        [4, 4, 5],
        ["7", "7", "8"],
        ["abc", "abc", "def"],
    ]
    assert (found["_time"].to_pylist()[2] - NOON) == timedelta(microseconds=5)


def test_batches_come_back_whole_and_weigh_less(store: FlakyStore, open_log: Any) -> None:
    numbers = Schema((Column("a", "number"),), Target("y", ("no", "maybe", "yes")))
    log, at = open_log(limit=260), micros(NOON)

    def batch(name: str, count: int) -> Predictions:
        places = np.arange(count) % 3
        rows, probabilities = np.arange(count, dtype=np.float64)[:, None], np.eye(3, dtype=np.float32)[places]
        ids, predicted = Numbered(name, count), Coded(numbers.target.classes, places)
        return Predictions(numbers, ids, at, 4, "7", "abc", "champion", predicted, probabilities, rows)

    assert all(log.add(each) for each in (batch("first", 1000), batch("second", 1001)))
    log.close()
    found = read_predictions(store, "m", "prod").to_pylist()
    assert [row["_request_id"] for row in found[998:1002]] == ["first.998", "first.999", "second.0", "second.1"]
    assert (found[-1]["_request_id"], found[-1]["a"], found[-1]["_predicted"]) == ("second.1000", 1000.0, "maybe")
    assert [row["_predicted"] for row in found[:4]] == ["no", "maybe", "yes", "no"]
    assert found[1]["_probabilities"] == [0, 1, 0]
