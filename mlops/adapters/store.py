"""The object store: one small interface, a folder or a Blob container behind it.

All that must not be lost or doubled rests on the two conditional puts; there are no locks
that outlive a process.
"""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlparse

from mlops import settings as settings_module
from mlops.settings import Settings


class StoreError(Exception):
    """The store refused or could not do what was asked."""


class NotFound(StoreError, KeyError):
    """There is no object under this key."""

    def __str__(self) -> str:
        return f"no object {self.args[0]!r} in the store"


class Altered(StoreError):
    """An object's content is not what was stored; another try cannot change that."""


class Conflict(StoreError):
    """A conditional put found another object than it expected; nothing was written."""


class Store(Protocol):
    """Objects of bytes under keys such as ``iris/serving/prod.json``."""

    def get(self, key: str) -> bytes:
        """Read an object. Raises ``NotFound``."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """Read an object and the tag of what was read. Raises ``NotFound``."""

    def etag(self, key: str) -> str | None:
        """The tag of the current object, or none; cheaper than reading it."""

    def put(self, key: str, data: bytes) -> str:
        """Write an object, replacing any; return its tag."""

    def put_if_absent(self, key: str, data: bytes) -> str:
        """Write an object where there is none; return its tag. Raises ``Conflict``."""

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object that has this tag; return the new tag. Raises ``Conflict``."""

    def list(self, prefix: str) -> list[str]:
        """The keys that start with ``prefix``, sorted."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens when there is none."""


def open_store(uri: str, settings: Settings | None = None) -> Store:
    """Open the store at a URI: ``file:///path``, or a Blob container's ``https://`` address.

    Args:
        uri: where it is.
        settings: how to sign in to a Blob container; read from the environment unless given.

    Raises:
        StoreError: the URI cannot be used.
        mlops.settings.SettingsError: signing in needs something that is not set.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return FolderStore(Path(unquote(parsed.path)))
    if parsed.scheme in ("http", "https"):
        from mlops.adapters.store_blob import open_blob_store

        return open_blob_store(uri, settings or settings_module.load())
    raise StoreError(f"store {uri!r}: the scheme must be file or https (setting `store`, variable MLOPS_STORE)")


def check_key(key: str) -> list[str]:
    """The parts of a key, which mean the same in every store.

    Raises:
        StoreError: a part is empty, starts with a dot or contains a backslash.
    """
    parts = key.split("/")
    if not all(re.fullmatch(r"[^/\\\0]+", part) and not part.startswith(".") for part in parts):
        raise StoreError(f"key {key!r}: parts must not be empty, start with a dot or contain a backslash")
    return parts


def is_hidden(key: str) -> bool:
    """Whether a stored name is none of the store's keys: work in progress, or put there by others."""
    return any(part.startswith(".") for part in key.split("/"))


class FolderStore:
    """A folder as a store: atomic replacement by rename, conditions under a file lock.

    The tag is the content's digest. That a rewrite of equal bytes keeps it is harmless here:
    every object written under a condition carries a generation or is immutable.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(key) from None

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        data = self.get(key)
        return data, _tag(data)

    def etag(self, key: str) -> str | None:
        try:
            return _tag(self.get(key))
        except NotFound:
            return None

    def put(self, key: str, data: bytes) -> str:
        with self._locked(key):
            return self._write(key, data)

    def put_if_absent(self, key: str, data: bytes) -> str:
        with self._locked(key):
            if self._path(key).exists():
                raise Conflict(f"{key} exists already")
            return self._write(key, data)

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        with self._locked(key):
            if (current := self.etag(key)) != etag:
                raise Conflict(f"{key} changed meanwhile (tag {current}, expected {etag})")
            return self._write(key, data)

    def list(self, prefix: str) -> list[str]:
        folder = self.root / prefix.rpartition("/")[0]
        walked = os.walk(folder, onerror=_raise_unless_gone)
        # One path for each folder, and none for each of its files: a day's log has many.
        below = ((Path(parent).relative_to(self.root).as_posix(), names) for parent, _, names in walked)
        keys = (name if parent == "." else f"{parent}/{name}" for parent, names in below for name in names)
        return sorted(key for key in keys if key.startswith(prefix) and not is_hidden(key))

    def delete(self, key: str) -> None:
        with self._locked(key):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root.joinpath(*check_key(key))

    def _write(self, key: str, data: bytes) -> str:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A crash leaves a dot file, which no reader sees, or the whole object.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".put-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return _tag(data)

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        # The kernel drops the lock with the process, so a kill leaves nothing behind.
        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / hashlib.sha256(key.encode()).hexdigest()[:2]).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _raise_unless_gone(error: OSError) -> None:
    """Any other error is an outage, and not an empty folder."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
