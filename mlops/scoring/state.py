"""What serves now: follows the serving state and swaps whole generations of models, also while the store is away."""

import hashlib
import logging
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import msgspec

from mlops.adapters.bundles import Reader
from mlops.adapters.store import Altered, Store, StoreError
from mlops.core.serving import Served, ServingState, state_key
from mlops.scoring.answers import Answers
from mlops.scoring.cache import Cache, Recording
from mlops.scoring.model import Model, load_model

logger = logging.getLogger(__name__)
POLL_SECONDS = 0.5
MAX_RETRY_SECONDS = 10.0
MAX_TRANSIENT_RETRY_SECONDS = 2.0


class Choice(NamedTuple):
    """What answers a request: its role, bundle and model, and how its answers are written."""

    role: Literal["champion", "canary"]
    served: Served
    model: Model
    answers: Answers


@dataclass(frozen=True)
class Generation:
    """One serving state with its models loaded and checked."""

    state: ServingState
    champion: Model
    shadow: Model | None
    canary: Model | None

    def choose(self, request_id: str) -> Choice:
        """What answers a request; the same for each repeat of its id."""
        if self.canary and _share(request_id) < self.state.canary_share:
            return self._canary_choice
        return self.champion_choice

    @cached_property
    def champion_choice(self) -> Choice:
        """The champion."""
        return _choice("champion", self.state.champion, self.champion)

    @cached_property
    def _canary_choice(self) -> Choice:
        assert self.state.canary  # noqa: S101 - It is asked for only when there is one.
        assert self.canary  # noqa: S101
        return _choice("canary", self.state.canary, self.canary)


def _choice(role: Literal["champion", "canary"], served: Served, model: Model) -> Choice:
    return Choice(role, served, model, Answers(model.about.model, served, model.schema))


def _share(request_id: str) -> float:
    """Map an id to [0, 1), evenly."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8], "big") / 2**64


class Problem(msgspec.Struct, frozen=True):
    """Why the newest serving state does not serve; no generation when it cannot even be read."""

    generation: int | None
    reason: str
    transient: bool = False
    """Whether it lies with the store and not with the state or its bundles: it is tried again soon, and may pass."""


class Serving:
    """Follows the serving state of one model and environment in a thread.

    ``current`` and ``problem`` are replaced as a whole, so a request reads one consistent
    generation however the state changes meanwhile. While nothing serves, a state that cannot be
    taken (the store is away, a bundle is damaged) is answered with the last good generation from disk.
    """

    def __init__(self, store: Store, model: str, environment: str, cache: Cache) -> None:
        self.current: Generation | None = None
        self.problem: Problem | None = Problem(None, "starting")
        self.source: Literal["store", "cache"] = "store"
        """Where ``current`` was read."""
        self.idle = False
        """Whether nothing was released to this environment."""
        self._store = store
        self._cache = cache
        self._model = model
        self._key = state_key(model, environment)
        self._etag: str | None = None
        self._retry_at = 0.0
        self._retry_seconds = POLL_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serving-state", daemon=True)

    @property
    def version(self) -> str | None:
        """The champion's version."""
        return self.current.state.champion.version if self.current else None

    @property
    def started(self) -> bool:
        """Whether requests may come: a model answers them, or there is none to wait for."""
        return self.current is not None or self.idle

    def start(self) -> None:
        """Begin to follow the state."""
        self._thread.start()

    def close(self) -> None:
        """Stop following; what serves stays."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            self.poll()
            if self._stop.wait(POLL_SECONDS):
                return

    def poll(self) -> None:
        """Load the state when it is new, or when it failed a while ago; keep the old generation on failure."""
        generation, recording = None, Recording(self._store)
        try:
            etag = self._store.etag(self._key)
            if etag == self._etag and (self.problem is None or time.monotonic() < self._retry_at):
                return
            if etag != self._etag:
                self._retry_seconds = POLL_SECONDS
            self._etag = etag
            self.idle = etag is None
            if etag is None:
                self._fail(None, f"there is no serving state {self._key} in the store; release a version first")
                return
            state = msgspec.json.decode(self._store.get(self._key), type=ServingState)
            generation = state.generation
            self.current = self._load(recording, state)
        except Exception as error:  # noqa: BLE001 - Whatever is wrong with a bundle or the store, the old generation serves on.
            self._fail(generation, f"{type(error).__name__}: {error}", transient=_lies_with_store(error))
            if self.current is None:
                self._restore()
            return
        self.problem, self.source = None, "store"
        self._cache.keep(state, recording.files)
        logger.info("generation %d serves: version %s (%s)", generation, state.champion.version, state.champion.digest)

    def _restore(self) -> None:
        """Serve the last good generation from disk, its digests and golden records checked again."""
        try:
            if (state := self._cache.state()) is None:
                return
            self.current = self._load(self._cache, state)
        except Exception as error:  # noqa: BLE001 - A cache that cannot be used is as good as none.
            logger.error("the last good generation on disk cannot be used: %s: %s", type(error).__name__, error)
            return
        self.source = "cache"
        logger.warning("generation %d serves from disk: version %s", state.generation, state.champion.version)

    def _fail(self, generation: int | None, reason: str, *, transient: bool = False) -> None:
        if self.problem is None or self.problem.reason != reason:
            logger.error("the serving state cannot be taken: %s", reason)
        self.problem = Problem(generation, reason, transient)
        most = MAX_TRANSIENT_RETRY_SECONDS if transient else MAX_RETRY_SECONDS
        self._retry_seconds = min(self._retry_seconds, most)
        self._retry_at = time.monotonic() + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, most)

    def _load(self, source: Reader, state: ServingState) -> Generation:
        # Bundles are immutable, so one that is loaded already (a canary on its way up) is kept.
        loaded = {}
        if old := self.current:
            loaded = {model.digest: model for model in (old.champion, old.shadow, old.canary) if model}
        for served in (state.champion, state.shadow, state.canary):
            if served and served.digest not in loaded:
                loaded[served.digest] = load_model(source, self._model, served.digest)
        return Generation(
            state=state,
            champion=loaded[state.champion.digest],
            shadow=loaded[state.shadow.digest] if state.shadow else None,
            canary=loaded[state.canary.digest] if state.canary else None,
        )


def _lies_with_store(error: Exception) -> bool:
    """Whether an error may pass by itself; that of an absent or altered bundle does not."""
    return isinstance(error, StoreError | OSError) and not isinstance(error, Altered)
