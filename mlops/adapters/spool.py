"""Objects on their way to the store: files on disk until the store has them, however long it is away."""

import logging
import threading
import time
import uuid
from collections import deque
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from mlops.adapters.store import Store

logger = logging.getLogger(__name__)
MAX_RETRY_SECONDS = 5.0
STALE_SECONDS = 60.0
"""A draft older than this is one that a killed service left."""


class Parcel(NamedTuple):
    """One object that waits; its file's name holds all of this, so that a restart finds it again."""

    stamp: str
    """When it was made (UTC); names sort by it."""
    kind: str
    day: date
    rows: int
    unique: str
    size: int
    """Bytes."""

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.stamp}_{self.kind}_{self.day}_{self.rows}_{self.unique}.parquet"

    def key(self, model: str, environment: str) -> str:
        """Its key in the store: chosen once, so that a repeated put replaces its own object and doubles nothing."""
        return f"{model}/{self.kind}/date={self.day}/{environment}-{self.stamp}-{self.unique}.parquet"


class Spool:
    """A folder of bounded size, read in the order in which it was written; safe among threads."""

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._waiting = deque(sorted(self._found()))
        self.rows = sum(parcel.rows for parcel in self._waiting)
        """Rows that wait."""
        self.bytes = sum(parcel.size for parcel in self._waiting)
        """Bytes that wait."""

    @property
    def full(self) -> bool:
        """Whether nothing more is taken."""
        return self.bytes >= self._limit

    def add(self, kind: str, day: date, rows: int, data: bytes) -> bool:
        """Keep an object; whether there was room.

        It outlives the process, not a loss of power: to wait for the disk would protect a second's rows.

        Raises:
            OSError: the disk does not take it.
        """
        if self.bytes + len(data) > self._limit:
            return False
        parcel = Parcel(f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}", kind, day, rows, uuid.uuid4().hex[:8], len(data))
        draft = self._folder / f".{parcel.file}"
        try:
            draft.write_bytes(data)
            draft.replace(self._folder / parcel.file)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        with self._lock:
            self._waiting.append(parcel)
            self.rows += rows
            self.bytes += len(data)
        return True

    def first(self) -> Parcel | None:
        """The object that has waited longest."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def read(self, parcel: Parcel) -> bytes | None:
        """The object's bytes; none when another service that shares the folder has sent it."""
        try:
            return (self._folder / parcel.file).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, parcel: Parcel) -> None:
        """Forget the first object, which the store has now."""
        (self._folder / parcel.file).unlink(missing_ok=True)
        with self._lock:
            self._waiting.popleft()
            self.rows -= parcel.rows
            self.bytes -= parcel.size

    def _found(self) -> list[Parcel]:
        parcels = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):
                status = file.stat()
                if file.name.startswith("."):
                    if time.time() - status.st_mtime > STALE_SECONDS:
                        file.unlink()
                elif parcel := _parcel(file.name, status.st_size):
                    parcels.append(parcel)
        return parcels


def _parcel(name: str, size: int) -> Parcel | None:
    try:
        stamp, kind, day, rows, unique = name.removesuffix(".parquet").split("_")
        return Parcel(stamp, kind, date.fromisoformat(day), int(rows), unique, size)
    except ValueError:
        logger.warning("%s in the spool is no object of the prediction log and stays where it is", name)
        return None


class Shipper:
    """One thread that puts a spool's objects into the store, oldest first, each until the store has it."""

    def __init__(self, spool: Spool, store: Store, model: str, environment: str, retry_seconds: float = 1.0) -> None:
        self._spool = spool
        self._store = store
        self._model = model
        self._environment = environment
        self._retry_seconds = retry_seconds
        self._away = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="prediction-log-shipper", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier service left."""
        if self._spool.rows:
            logger.info("%d rows of the prediction log wait in the spool", self._spool.rows)
        self._thread.start()

    def notify(self) -> None:
        """Say that there is something new."""
        self._wake.set()

    def close(self, deadline: float) -> None:
        """Send what waits until ``deadline`` (of ``time.monotonic``); what is left stays on disk."""
        self._deadline = deadline
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()) + 2)

    def _run(self) -> None:
        delay = self._retry_seconds
        while True:
            parcel = self._spool.first()
            if parcel is None:
                if self._closing.is_set():
                    return
                self._wake.wait()
                self._wake.clear()
            elif self._send(parcel):
                delay = self._retry_seconds
            elif not self._closing.is_set():
                self._closing.wait(delay)
                delay = min(2 * delay, MAX_RETRY_SECONDS)
            elif time.monotonic() >= self._deadline:
                return
            else:
                time.sleep(min(delay, 0.1))

    def _send(self, parcel: Parcel) -> bool:
        key = parcel.key(self._model, self._environment)
        try:
            if (data := self._spool.read(parcel)) is not None:
                self._store.put(key, data)
            self._spool.remove(parcel)
        except Exception as error:  # noqa: BLE001 - Stores raise what their clients raise; all of it may pass.
            if not self._away:
                logger.warning("cannot write %s (%s: %s); rows wait on disk", key, type(error).__name__, error)
            self._away = True
            return False
        if self._away:
            logger.info("the store takes the prediction log again; %d rows follow", self._spool.rows)
        self._away = False
        return True
