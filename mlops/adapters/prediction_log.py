"""The prediction log: what was answered and which labels came, as Parquet objects in the store.

One object holds the rows of about a second, under ``<model>/predictions/date=.../`` or
``<model>/feedback/date=.../``; its date is that of its rows (UTC).
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from mlops.adapters.prediction_tables import (
    Labels,
    Predictions,
    label_fields,
    label_table,
    parquet,
    prediction_fields,
    prediction_table,
)
from mlops.adapters.store import Store
from mlops.core.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)
READERS = 8
"""Objects read at once."""


class PredictionLog:
    """Writes rows behind the answers: a bounded queue in memory and one thread.

    The thread writes what is queued every ``flush_seconds`` or ``flush_rows``. While the store
    fails it tries again with growing delay; rows that find the queue full are dropped and counted.
    """

    def __init__(
        self,
        store: Store,
        model: str,
        environment: str,
        *,
        limit: int = 50_000,
        flush_rows: int = 5_000,
        flush_seconds: float = 1.0,
        retry_seconds: float = 1.0,
    ) -> None:
        self.dropped = 0
        """Rows lost because the queue was full or the store failed until the end."""
        self._store = store
        self._model = model
        self._environment = environment
        self._limit = limit
        self._flush_rows = flush_rows
        self._flush_seconds = flush_seconds
        self._retry_seconds = retry_seconds
        self._condition = threading.Condition()
        self._queue: list[Predictions | Labels] = []
        self._queued = 0
        self._writing = 0
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def queued(self) -> int:
        """Rows that are not in the store yet."""
        return self._queued + self._writing

    def add(self, rows: Predictions | Labels) -> bool:
        """Queue rows without waiting for the store; whether there was room for them."""
        with self._condition:
            if self._closing.is_set() or self.queued + len(rows) > self._limit:
                self.dropped += len(rows)
                return False
            self._queue.append(rows)
            self._queued += len(rows)
            if len(self._queue) == 1 or self._queued >= self._flush_rows:
                self._condition.notify()
        return True

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued, trying for ``timeout`` seconds; later rows are dropped."""
        self._deadline = time.monotonic() + timeout
        with self._condition:
            self._closing.set()
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout + 5)

    def _run(self) -> None:
        import pyarrow.parquet  # noqa: F401  # Now, and not while the first rows wait.

        while batch := self._next():
            try:
                objects = self._objects(batch)
            except Exception:
                logger.exception("%d rows of the prediction log cannot be written", self._writing)
                self._lose(self._writing)
                continue
            for key, (data, rows) in objects.items():
                if not self._put(key, data):
                    logger.error("%d rows of the prediction log are lost: the store still fails", rows)
                    self._lose(rows)
            self._writing = 0

    def _next(self) -> list[Predictions | Labels]:
        """Wait for rows, then for company; nothing once the log is closed and empty."""
        with self._condition:
            self._condition.wait_for(lambda: self._queue or self._closing.is_set())
            self._condition.wait_for(
                lambda: self._queued >= self._flush_rows or self._closing.is_set(), self._flush_seconds
            )
            batch, self._queue = self._queue, []
            self._writing, self._queued = self._queued, 0
        return batch

    def _objects(self, batch: Iterable[Predictions | Labels]) -> dict[str, tuple[bytes, int]]:
        """Parquet objects and their numbers of rows, by key: one for each kind, date and schema.

        Keys are chosen once, so that a repeated put replaces its own object and doubles nothing.
        """
        groups: dict[tuple[str, date, int], list[Any]] = {}
        for part in batch:
            kind, schema = ("predictions", id(part.schema)) if isinstance(part, Predictions) else ("feedback", 0)
            groups.setdefault((kind, part.time.date(), schema), []).append(part)
        objects = {}
        for (kind, day, _), parts in groups.items():
            table = prediction_table(parts, self._environment) if kind == "predictions" else label_table(parts)
            name = f"{self._environment}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}.parquet"
            objects[f"{self._model}/{kind}/date={day}/{name}"] = parquet(table), len(table)
        return objects

    def _put(self, key: str, data: bytes) -> bool:
        """Put an object until it succeeds, or until the deadline once the log is closing."""
        delay = self._retry_seconds
        while True:
            try:
                self._store.put(key, data)
                return True
            except Exception as error:  # noqa: BLE001 - Stores raise what their clients raise; all of it may pass.
                logger.warning("cannot write %s (%s: %s); trying again", key, type(error).__name__, error)
            if self._closing.is_set():
                if time.monotonic() >= self._deadline:
                    return False
                time.sleep(min(delay, 0.1))
            self._closing.wait(delay)
            delay = min(2 * delay, 30.0)

    def _lose(self, rows: int) -> None:
        with self._condition:
            self.dropped += rows
            self._writing -= rows


def prediction_keys(store: Store, model: str, environment: str, since: date | None = None) -> list[str]:
    """The objects with an environment's predictions, of a date (UTC) or later, oldest first."""
    return [key for key in _keys(store, f"{model}/predictions/", since) if _file(key).startswith(f"{environment}-")]


def feedback_keys(store: Store, model: str, since: date | None = None) -> list[str]:
    """The objects with a model's labels, of a date (UTC) or later, oldest first."""
    return _keys(store, f"{model}/feedback/", since)


def read_object(store: Store, key: str) -> "pa.Table":
    """Read one object of the log. Raises ``NotFound``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(pa.BufferReader(store.get(key))).read()


def read_predictions(
    store: Store, model: str, environment: str, since: date | None = None, *, schema: Schema | None = None
) -> "pa.Table":
    """Read the predictions of an environment since a date (UTC), in the order in which they were written.

    Columns are the log's own (``_request_id``, ``_time``, ...), then the model's. Without rows the
    model's columns are those of ``schema``.
    """
    return _read(store, prediction_keys(store, model, environment, since), prediction_fields(schema))


def read_feedback(
    store: Store, model: str, since: date | None = None, *, keys: Sequence[str] | None = None
) -> "pa.Table":
    """Read the labels of a model since a date (UTC), or those of some objects.

    Columns: ``_request_id``, ``_time``, ``_label``.
    """
    return _read(store, feedback_keys(store, model, since) if keys is None else keys, label_fields())


def _keys(store: Store, prefix: str, since: date | None) -> list[str]:
    first = f"{prefix}date={since}/" if since else prefix
    return sorted((key for key in store.list(prefix) if key >= first), key=lambda key: _file(key).partition("-")[2])


def _file(key: str) -> str:
    return key.rpartition("/")[2]


def _read(store: Store, keys: Sequence[str], empty: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    with ThreadPoolExecutor(READERS) as readers:
        tables = list(readers.map(lambda key: read_object(store, key), keys))
    return pa.concat_tables([*tables, empty.empty_table()], promote_options="default")
