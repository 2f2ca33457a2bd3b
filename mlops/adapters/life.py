"""Signs of life of flow runs: an object in the store that a living run's process keeps changing.

Prefect calls a run *Running* for as long as nobody tells it otherwise, also when its process was killed and
nothing watched it. What changes is compared and no clocks are, so those of two machines may differ.
"""

import logging
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from mlops.adapters.store import Store

logger = logging.getLogger(__name__)
BEAT_SECONDS = 1.0
SILENT_SECONDS = 6.0
"""A run that gives no sign for so long is dead. Was it only stuck, its next conditional put is refused."""


def life_key(model: str, run: str) -> str:
    """The store key of a run's sign of life."""
    return f"{model}/serving/runs/{run}"


class SignOfLife:
    """Keeps an object changing from a thread; a context manager, which removes the object at its end."""

    def __init__(self, store: Store, model: str, run: str, beat_seconds: float = BEAT_SECONDS) -> None:
        self._store = store
        self._key = life_key(model, run)
        self._beat_seconds = beat_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sign-of-life", daemon=True)

    def __enter__(self) -> Self:
        self._store.put(self._key, b"0")  # Before the run changes anything.
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(Exception):  # A store that is away must not hide how the run ended.
            self._store.delete(self._key)

    def _run(self) -> None:
        count = 0
        while not self._stop.wait(self._beat_seconds):
            count += 1
            try:
                self._store.put(self._key, b"%d" % count)
            except Exception as error:  # noqa: BLE001 - Stores raise what their clients raise; all of it may pass.
                logger.warning("cannot give a sign of life (%s: %s)", type(error).__name__, error)


def lives(store: Store, model: str, run: str, seconds: float = SILENT_SECONDS) -> bool:
    """Whether a run gives a sign of life within so many seconds; what a dead one left is removed."""
    key, deadline = life_key(model, run), time.monotonic() + seconds
    first = store.etag(key)
    while time.monotonic() < deadline:
        time.sleep(min(0.1, seconds))
        if store.etag(key) not in (None, first):
            return True
    store.delete(key)
    return False
