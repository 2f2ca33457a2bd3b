"""What the twin was asked and what it answered, kept so that tests can judge both."""

from collections import deque
from typing import Any

import msgspec

KEPT = 5000


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer; bodies as JSON where they are JSON, else as text."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    request_headers: dict[str, str]
    request: Any
    status: int
    response_headers: dict[str, str]
    response: Any
    fault: str = ""
    """The fault that answered instead of the service."""


class Exchanges:
    """The newest exchanges, oldest first. Bearer tokens and secrets of sign-ins are kept: they are the twin's own."""

    def __init__(self) -> None:
        self._kept: deque[Exchange] = deque(maxlen=KEPT)

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange."""
        self._kept.append(exchange)

    def find(self, method: str = "", path: str = "") -> list[Exchange]:
        """Exchanges of a method whose path contains a text in any case."""
        return [
            each
            for each in self._kept
            if method in ("", each.method) and path.lower() in f"{each.host}{each.path}".lower()
        ]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()


def decoded(body: bytes) -> Any:
    """JSON as objects, other text as text."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode("utf-8", "replace")
