"""Ingestion: every file once, every bad row in quarantine with its reason, labels joined when they come."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasks.ingest
from mlops.adapters.datasets import iris_csv
from tasks.context import ModelContext, open_model
from tasks.ingest import Curated, curate_file, join_labels, list_landing, publish_snapshot


@pytest.fixture
def iris(monkeypatch: pytest.MonkeyPatch) -> ModelContext:
    monkeypatch.setattr(tasks.ingest, "create_table_artifact", lambda **_: None)
    return open_model("iris")


def ingest() -> str | None:
    """The flow's steps without Prefect."""
    curated: list[Curated] = [curate_file.fn("iris", key) for key in list_landing.fn("iris")]
    if labelled := join_labels.fn("iris"):
        curated.append(labelled)
    return publish_snapshot.fn("iris", curated)[0]


def log_predictions(context: ModelContext, *ids: str, days_ago: int = 0) -> None:
    now = datetime.now(UTC) - timedelta(days=days_ago)
    rows = [
        {"_request_id": each, "_time": now, "_environment": "prod", "_generation": 1, "_version": "1", "_digest": "d",
         "_role": "champion", "_predicted": "1", "_probabilities": [0.0, 1.0, 0.0],
         **{column.name: 1.5 for column in context.spec.data.columns}}
        for each in ids
    ]  # fmt: skip
    put(context, f"iris/predictions/date={now.date()}/prod-{ids[0]}.parquet", rows)


def send_labels(context: ModelContext, days_ago: int = 0, **labels: str) -> None:
    now = datetime.now(UTC) - timedelta(days=days_ago)
    rows = [{"_request_id": each, "_time": now, "_label": label} for each, label in labels.items()]
    put(context, f"iris/feedback/date={now.date()}/prod-{'-'.join(labels)}.parquet", rows)


def put(context: ModelContext, key: str, rows: list[dict[str, Any]]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    context.store.put(key, sink.getvalue().to_pybytes())


def test_a_file_is_read_once(iris: ModelContext) -> None:
    iris.store.put("iris/landing/a.csv", iris_csv())
    first = ingest()
    assert first is not None
    assert len(iris.snapshots.load(first, iris.spec.data)) == 150
    assert list_landing.fn("iris") == []
    assert ingest() == first


def test_a_crash_after_any_step_loses_and_doubles_nothing(iris: ModelContext) -> None:
    iris.store.put("iris/landing/a.csv", iris_csv())
    curated = curate_file.fn("iris", "iris/landing/a.csv")  # died before publishing
    again = curate_file.fn("iris", "iris/landing/a.csv")
    assert again == curated
    published, new = publish_snapshot.fn("iris", [again])
    assert new
    assert publish_snapshot.fn("iris", [curated]) == (published, False)  # died before saying so
    assert published == ingest()


def test_bad_rows_go_to_quarantine_and_good_ones_on(iris: ModelContext) -> None:
    lines = iris_csv().decode().splitlines()
    iris.store.put("iris/landing/a.csv", "\n".join([*lines[:4], "1,2,three,4,0", "1,2,3,99,0"]).encode())
    snapshot = ingest()
    assert snapshot is not None
    assert len(iris.snapshots.load(snapshot, iris.spec.data)) == 3
    (key,) = iris.store.list("iris/quarantine/a.csv/")
    text = iris.store.get(key).decode()
    assert "PetalLengthCm" in text
    assert "three" in text
    assert "PetalWidthCm" in text
    assert len(text.splitlines()) == 3


def test_a_file_that_cannot_be_read_is_kept_with_the_reason(iris: ModelContext) -> None:
    iris.store.put("iris/landing/bad.csv", b"a,b\n1,2\n")
    iris.store.put("iris/landing/good.csv", iris_csv())
    snapshot = ingest()
    assert snapshot is not None
    assert iris.snapshots.manifest(snapshot).rows == 150
    file, reason = iris.store.list("iris/quarantine/bad.csv/")
    assert iris.store.get(file) == b"a,b\n1,2\n"
    assert "SepalLengthCm" in json.loads(iris.store.get(reason))["reason"]
    assert list_landing.fn("iris") == []


def test_a_file_that_changed_after_it_was_read_is_quarantined(iris: ModelContext) -> None:
    iris.store.put("iris/landing/a.csv", iris_csv())
    ingest()
    iris.store.put("iris/landing/a.csv", iris_csv() + b"1,1,1,1,0\n")
    assert list_landing.fn("iris") == ["iris/landing/a.csv"]
    curated = curate_file.fn("iris", "iris/landing/a.csv")
    assert "new name" in curated.refused
    assert curated.part is None


def test_labels_are_joined_once_their_predictions_are_logged(iris: ModelContext) -> None:
    log_predictions(iris, "r1", "r2")
    send_labels(iris, r1="2")
    send_labels(iris, r2="0", r3="1")
    first = ingest()
    assert first is not None
    assert iris.snapshots.load(first, iris.spec.data)["Species"].tolist() == ["2"]
    log_predictions(iris, "r3")  # its label overtook it
    second = ingest()
    assert second is not None
    assert second != first
    rows = iris.snapshots.load(second, iris.spec.data)
    assert sorted(rows["Species"]) == ["0", "1", "2"]
    assert np.allclose(rows["PetalWidthCm"], 1.5)
    assert ingest() == second


def test_labels_that_come_days_later_are_joined(iris: ModelContext) -> None:
    log_predictions(iris, "old", days_ago=40)
    log_predictions(iris, "new")
    assert ingest() is None
    send_labels(iris, old="2")
    snapshot = ingest()
    assert snapshot is not None
    assert iris.snapshots.load(snapshot, iris.spec.data)["Species"].tolist() == ["2"]


def test_labels_without_a_prediction_end_in_quarantine(iris: ModelContext) -> None:
    log_predictions(iris, "r1")
    send_labels(iris, days_ago=8, r1="2", stranger="0")
    snapshot = ingest()
    assert snapshot is not None
    assert iris.snapshots.load(snapshot, iris.spec.data)["Species"].tolist() == ["2"]
    (key,) = iris.store.list("iris/quarantine/feedback/")
    assert "stranger" in iris.store.get(key).decode()
    assert "no PROD prediction" in iris.store.get(key).decode()
    assert join_labels.fn("iris") is None
