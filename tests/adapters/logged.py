"""Rows for the prediction log, and a store that is away now and then."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops.adapters.prediction_tables import Labels, Predictions
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


def spool(tmp_path: Path, environment: str = "prod") -> Path:
    """The folder of an environment's spool."""
    return tmp_path / "spool" / environment


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def predictions(*ids: str, at: datetime = NOON, schema: Schema = SCHEMA) -> Predictions:
    row: list[object] = [NOON, None, 1.5, 2.0]
    return Predictions(
        schema=schema,
        request_ids=ids,
        time=micros(at),
        generation=4,
        version="7",
        digest="abc",
        role="champion",
        predicted=["1"] * len(ids),
        probabilities=[[0.25, 0.75]] * len(ids),
        rows=[row[: len(schema.columns)]] * len(ids),
    )


def labels(*ids: str, at: datetime = NOON) -> Labels:
    return Labels(request_ids=ids, time=micros(at), labels=["1"] * len(ids))
