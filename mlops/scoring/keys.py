"""The keys that open a scoring service: from the environment, or from a file that may be replaced at any time."""

import hmac
import logging
import time
from pathlib import Path

logger = logging.getLogger(__name__)
MAX_KEYS = 2
"""An old key and a new one, so that clients can change over one by one."""

REFRESH_SECONDS = 0.2
"""A changed file is seen after this; to look at each request would cost a tenth of the throughput."""


class Keys:
    """One or two keys, one a line, that stay as they are; without keys nobody is let in."""

    def __init__(self, text: str = "") -> None:
        self._use(self._read(text.encode(), "the variable with the keys"))

    def allows(self, authorization: bytes | None) -> bool:
        """Whether an ``Authorization`` header carries one of the keys, in time independent of the keys' content."""
        return self._matches(authorization)

    def _use(self, keys: list[bytes]) -> None:
        self._keys = keys
        self._headers = [b"Bearer " + key for key in keys]

    def _matches(self, authorization: bytes | None) -> bool:
        given = authorization or b""
        if True in [hmac.compare_digest(given, header) for header in self._headers]:  # As nearly all write it.
            return True
        scheme, _, given = given.partition(b" ")
        matches = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        return True in matches and scheme.lower() == b"bearer"

    @staticmethod
    def _read(text: bytes, source: object) -> list[bytes]:
        keys = [line.strip() for line in text.splitlines() if line.strip()]
        if not keys or len(keys) > MAX_KEYS:
            logger.error("%s holds %d keys; it must hold one or two, one a line", source, len(keys))
        return keys[:MAX_KEYS]


class KeyFile(Keys):
    """A file with one key a line, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._use([])
        self._looked = float("-inf")

    def allows(self, authorization: bytes | None) -> bool:
        """Whether an ``Authorization`` header carries one of the keys, in time independent of the keys' content.

        A new key is good at once; one that was taken out, for ``REFRESH_SECONDS`` more.
        """
        if (now := time.monotonic()) - self._looked >= REFRESH_SECONDS:
            self._looked = now
            self._refresh()
        elif self._matches(authorization):
            return True
        else:
            self._refresh()
        return self._matches(authorization)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen:
                return
            text = self._path.read_bytes()
        except OSError as error:
            if self._keys or self._seen is None:
                logger.error("no key can be read from %s (%s): every request is refused", self._path, error.strerror)
            self._seen = (0, 0, 0)
            self._use([])
            return
        self._seen = seen
        self._use(self._read(text, self._path))
