"""The keys that open a scoring service, read from a file that may be replaced at any time."""

import hmac
import logging
import time
from pathlib import Path

logger = logging.getLogger(__name__)
MAX_KEYS = 2
"""An old key and a new one, so that clients can change over one by one."""

REFRESH_SECONDS = 0.2
"""A changed file is seen after this; to look at each request would cost a tenth of the throughput."""


class KeyFile:
    """A file with one key a line; without keys nobody is let in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: list[bytes] = []
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

    def _matches(self, authorization: bytes | None) -> bool:
        scheme, _, given = (authorization or b"").partition(b" ")
        given = given.strip()
        matches = [hmac.compare_digest(given, key) for key in self._keys]
        return any(matches) and scheme.lower() == b"bearer"

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen:
                return
            lines = [line.strip() for line in self._path.read_bytes().splitlines()]
        except OSError as error:
            if self._keys or self._seen is None:
                logger.error("no key can be read from %s (%s): every request is refused", self._path, error.strerror)
            self._seen, self._keys = (0, 0, 0), []
            return
        keys = [line for line in lines if line]
        if not keys or len(keys) > MAX_KEYS:
            logger.error("%s holds %d keys; it must hold one or two, one a line", self._path, len(keys))
        self._seen, self._keys = seen, keys[:MAX_KEYS]
