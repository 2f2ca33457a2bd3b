"""The prediction log: what was answered and which labels came, as Parquet objects in the store.

One object holds the rows of about a second, under ``<model>/predictions/date=.../`` or
``<model>/feedback/date=.../``; its date is that of its rows (UTC).
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.adapters.prediction_blocks import Block, Compactor
from mlops.adapters.prediction_columns import PAUSE_SECONDS, prediction_tables
from mlops.adapters.prediction_tables import (
    DAY,
    Labels,
    Predictions,
    date_of,
    label_fields,
    label_table,
    parquet,
    prediction_fields,
)
from mlops.adapters.spool import Shipper, Spool
from mlops.adapters.store import Store
from mlops.core.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)
READERS = 8
"""Objects read at once."""
FREED = 500
"""Requests whose rows are freed at once."""


class PredictionLog:
    """Writes rows behind the answers: a bounded queue in memory, a spool on disk, the store.

    A thread turns what is queued into objects in the spool every ``flush_seconds`` or ``flush_rows``;
    another one sends them. A store that is away, or slow, is noticed by neither the answers nor the
    first thread. Rows that find the queue or the spool full are dropped and counted.

    ``limit`` and ``flush_rows`` count rows of single requests; a batch, whose rows are arrays, takes the memory of
    an eighth of them.
    """

    def __init__(
        self,
        store: Store,
        model: str,
        environment: str,
        spool: Path,
        *,
        spool_bytes: int = 512 * 1024 * 1024,
        limit: int = 60_000,
        flush_rows: int = 10_000,
        flush_seconds: float = 1.0,
        retry_seconds: float = 1.0,
    ) -> None:
        self.dropped = 0
        """Rows lost because the queue or the spool was full, or because the disk failed."""
        self._environment = environment
        self._limit = limit
        self._flush_rows = flush_rows
        self._flush_seconds = flush_seconds
        self._spool = Spool(spool, spool_bytes)
        self._shipper = Shipper(self._spool, store, model, environment, retry_seconds)
        self._lock = threading.Lock()
        self._queue: list[Predictions | Block | Labels] = []
        self._compactor = Compactor()
        self._queued = 0
        self._writing = 0
        self._load = 0
        """What is queued or being written, in rows of single requests."""
        self._busy = 0
        """Of that, what is being written."""
        self._begun = threading.Event()
        self._enough = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)

    def start(self) -> None:
        """Begin to write, first what an earlier service left in the spool."""
        self._shipper.start()
        self._thread.start()

    @property
    def queued(self) -> int:
        """Rows that are not in the store yet."""
        return self._queued + self._writing + self._spool.rows

    @property
    def spooled_bytes(self) -> int:
        """Bytes on disk that wait for the store."""
        return self._spool.bytes

    def add(self, rows: Predictions | Labels) -> bool:
        """Queue rows without waiting for disk or store; whether they were taken: not those that find no room."""
        count, weight = len(rows.request_ids), rows.weight
        with self._lock:
            load = self._load + weight
            if self._closed or load > self._limit or self._spool.full:
                self.dropped += count
                return False
            try:
                part = rows if isinstance(rows, Labels) else self._compactor.place(rows)
            except (TypeError, ValueError):
                logger.exception("%d rows of the prediction log are lost: they are no rows of numbers", count)
                self.dropped += count
                return False
            if not self._queue:
                self._begun.set()
            if part is not None:
                self._queue.append(part)
            self._queued += count
            self._load = load
            if load - self._busy >= self._flush_rows:
                self._enough.set()
        return True

    def close(self, timeout: float = 10.0) -> None:
        """Write what is queued, and try for ``timeout`` seconds to empty the spool; later rows are dropped."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closed = True
        self._begun.set()
        self._enough.set()
        if self._thread.is_alive():
            self._thread.join(timeout + 5)
            self._shipper.close(deadline)

    def _run(self) -> None:
        import pyarrow.parquet  # noqa: F401  # Now, and not while the first rows wait.

        while batch := self._next():
            for kind, day, parts in _groups(batch):
                self._keep(kind, day, parts)
                del parts
            with self._lock:
                self._writing = 0
                self._load -= self._busy
                self._busy = 0
            while batch:  # To free them all at once would hold up the answers.
                del batch[-FREED:]
                time.sleep(PAUSE_SECONDS)

    def _next(self) -> list[Predictions | Block | Labels]:
        """Wait for rows, then for company; nothing once the log is closed and empty."""
        self._begun.wait()
        self._enough.wait(self._flush_seconds)
        with self._lock:
            batch, self._queue = self._queue, []
            self._compactor.close()
            self._writing, self._queued = self._queued, 0
            self._busy = self._load
            if not self._closed:
                self._begun.clear()
                self._enough.clear()
        return batch

    def _keep(self, kind: str, day: date, parts: Sequence[Any]) -> None:
        """Put rows of one kind, date and schema into the spool."""
        rows = sum(map(len, parts))
        try:
            if kind == "predictions":
                data = parquet(prediction_fields(parts[0].schema), prediction_tables(parts, self._environment))
            else:
                data = parquet(label_fields(), [label_table(parts)])
            kept = self._spool.add(kind, day, rows, data)
            reason = "the spool is full"
        except Exception as error:
            logger.exception("%d rows of the prediction log cannot be written", rows)
            kept, reason = False, type(error).__name__
        with self._lock:
            self._writing -= rows
            self.dropped += 0 if kept else rows
        if kept:
            self._shipper.notify()
        else:
            logger.error("%d rows of the prediction log are lost: %s", rows, reason)


def _groups(batch: Iterable[Predictions | Block | Labels]) -> Iterator[tuple[str, date, list[Any]]]:
    """Rows by kind, date and schema: each group becomes one object."""
    groups: dict[tuple[int, int], list[Any]] = {}
    for part in batch:
        day = part.day if isinstance(part, Block) else part.time // DAY
        groups.setdefault((day, 0 if isinstance(part, Labels) else id(part.schema)), []).append(part)
    for (day, _), parts in groups.items():
        yield "feedback" if isinstance(parts[0], Labels) else "predictions", date_of(day), parts


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
