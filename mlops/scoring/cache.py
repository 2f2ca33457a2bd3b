"""The last good generation on disk, from which a service starts while the store is away."""

import logging
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from mlops.adapters.bundles import Reader
from mlops.adapters.store import FolderStore, NotFound
from mlops.core.serving import ServingState, state_key

logger = logging.getLogger(__name__)


class Cache:
    """A folder with one serving state and the bundle files that it needs, under the keys of the store.

    Files are replaced whole, and bundles are checked against their digests when they are read, so a
    crash or a damaged disk is never served from. What goes wrong here is logged and disturbs nothing.
    """

    def __init__(self, folder: Path, model: str, environment: str) -> None:
        self._files = FolderStore(folder)
        self._bundles = folder / model / "bundles"
        self._key = state_key(model, environment)

    def get(self, key: str) -> bytes:
        """Read a kept file. Raises ``NotFound``."""
        return self._files.get(key)

    def state(self) -> ServingState | None:
        """The last state that was kept."""
        with suppress(NotFound):
            return msgspec.json.decode(self._files.get(self._key), type=ServingState)
        return None

    def keep(self, state: ServingState, files: Mapping[str, bytes]) -> None:
        """Make a state the last good one, with the files read for it, now that its bundles serve."""
        needed = {served.digest for served in (state.champion, state.shadow, state.canary) if served}
        try:
            for key, data in files.items():
                self._files.put(key, data)
            self._files.put(self._key, msgspec.json.encode(state))
            for folder in self._bundles.iterdir():
                if folder.name not in needed:
                    shutil.rmtree(folder)
        except OSError as error:
            logger.warning("generation %d cannot be kept on disk: %s", state.generation, error)


class Recording:
    """Reads a store and remembers what was read."""

    def __init__(self, store: Reader) -> None:
        self.files: dict[str, bytes] = {}
        self._store = store

    def get(self, key: str) -> bytes:
        data = self.files[key] = self._store.get(key)
        return data
