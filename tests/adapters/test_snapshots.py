"""Snapshots count every source once, whatever happens at the same time, and give every row once."""

import io
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from mlops.adapters.snapshots import Part, SnapshotError, Snapshots, Source
from mlops.adapters.store import FolderStore, Store
from mlops.core.schema import Column, Schema, Target

SCHEMA = Schema(
    columns=(
        Column("when", "time"),
        Column("flight", "integer", feature=False),
        Column("distance", "number"),
    ),
    target=Target("late", ("0", "1")),
    unique=("when", "flight"),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FolderStore(tmp_path)


def frame(day: int, flights: list[float], distance: float = 1.0) -> pd.DataFrame:
    when = pd.Series([pd.Timestamp(2013, 1, day, tz="UTC")] * len(flights)).astype("datetime64[us, UTC]")
    return pd.DataFrame({"when": when, "flight": flights, "distance": distance, "late": "0"})


def publish(snapshots: Snapshots, name: str, rows: pd.DataFrame) -> str:
    part = snapshots.put_part(rows, SCHEMA)
    return snapshots.publish((part,), (Source(name, part.digest),))[0]


def test_parts_accumulate_and_come_back_in_event_time_order(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    publish(snapshots, "b", frame(2, [3.0]))
    newest = publish(snapshots, "a", frame(1, [1.0, 2.0]))
    assert snapshots.latest() == newest
    assert snapshots.manifest(newest).rows == 3
    rows = snapshots.load(newest, SCHEMA)
    assert rows["flight"].tolist() == [1.0, 2.0, 3.0]
    assert list(rows) == ["when", "flight", "distance", "late"]


def test_a_source_is_published_once(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    first = publish(snapshots, "a", frame(1, [1.0]))
    assert publish(snapshots, "a", frame(1, [1.0])) == first
    assert snapshots.publish((), ()) == (first, False)


def test_the_files_of_a_snapshot_are_its_manifest_and_its_rows(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    publish(snapshots, "a", frame(1, [1.0, 2.0]))
    newest = publish(snapshots, "b", frame(2, [3.0]))
    manifest, *parts = snapshots.files(newest).items()
    assert manifest[0] == f"m/snapshots/{newest}/manifest.json"
    assert [pd.read_parquet(io.BytesIO(data))["flight"].tolist() for _, data in parts] == [[1.0, 2.0], [3.0]]
    store.put(parts[0][0], b"others")
    with pytest.raises(SnapshotError, match="altered since it was stored"):
        snapshots.files(newest)


def test_two_ingestions_at_once_both_count(store: Store) -> None:
    ours, theirs = Snapshots(store, "m"), Snapshots(store, "m")
    publish(ours, "a", frame(1, [1.0]))
    move = ours._move_latest

    def overtaken(snapshot: str, etag: str) -> None:
        ours._move_latest = move  # type: ignore[method-assign]
        publish(theirs, "b", frame(2, [2.0]))
        move(snapshot, etag)

    ours._move_latest = overtaken  # type: ignore[method-assign]
    newest = publish(ours, "c", frame(3, [3.0]))
    assert [source.key for source in ours.manifest(newest).sources] == ["a", "b", "c"]
    assert ours.load(newest, SCHEMA)["flight"].tolist() == [1.0, 2.0, 3.0]


def test_of_equal_keys_the_last_row_counts(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    publish(snapshots, "a", frame(1, [1.0, 2.0], distance=1.0))
    newest = publish(snapshots, "b", frame(1, [2.0], distance=9.0))
    assert snapshots.load(newest, SCHEMA)["distance"].tolist() == [1.0, 9.0]


def test_rows_of_one_request_count_once(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    answered = frame(1, [1.0, 2.0]).assign(_request_id=["r1", "r2"])
    publish(snapshots, "a", answered)
    publish(snapshots, "landed", frame(3, [5.0, 6.0]))
    newest = publish(snapshots, "b", frame(1, [7.0]).assign(_request_id=["r2"]))
    assert snapshots.load(newest, SCHEMA)["flight"].tolist() == [1.0, 7.0, 5.0, 6.0]


def test_only_the_latest_days_are_loaded(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    for day in (1, 5, 9):
        newest = publish(snapshots, f"day {day}", frame(day, [float(day)]))
    assert snapshots.load(newest, SCHEMA, days=5)["flight"].tolist() == [5.0, 9.0]


def test_the_id_is_the_digest_of_what_it_holds(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    newest = publish(snapshots, "a", frame(1, [1.0]))
    manifest = snapshots.manifest(newest)
    altered = msgspec.structs.replace(manifest, parts=(Part("0" * 64, 1),))
    store.put(f"m/snapshots/{newest}/manifest.json", altered.encode())
    with pytest.raises(SnapshotError, match="not what the id names"):
        snapshots.load(newest, SCHEMA)
    with pytest.raises(SnapshotError, match="not in the store"):
        snapshots.manifest("f" * 64)


def test_altered_parts_are_refused(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    newest = publish(snapshots, "a", frame(1, [1.0]))
    store.put(f"m/snapshots/parts/{snapshots.manifest(newest).parts[0].digest}.parquet", b"altered")
    with pytest.raises(SnapshotError, match="altered"):
        snapshots.load(newest, SCHEMA)


def test_a_spec_with_another_column_than_the_snapshot_says_so(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    newest = publish(snapshots, "a", frame(1, [1.0]))
    more = msgspec.structs.replace(
        SCHEMA, columns=(*SCHEMA.columns, msgspec.structs.replace(SCHEMA.columns[2], name="wind"))
    )
    with pytest.raises(SnapshotError, match=f"snapshot {newest} of m has no column wind: the spec had others"):
        snapshots.load(newest, more)


def test_a_snapshot_without_rows_says_so(store: Store) -> None:
    snapshots = Snapshots(store, "m")
    newest, _ = snapshots.publish((), (Source("bad file", "0"),))
    with pytest.raises(SnapshotError, match="holds no rows"):
        snapshots.load(newest, SCHEMA)
