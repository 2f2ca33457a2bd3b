"""HTTP as the service sees it: requests, answers, bodies in bounded size and time."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from mlops.scoring.config import Limits
from mlops.scoring.errors import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
SMALL = 16 * 1024
"""Bytes of a body that is scored at once; larger ones wait their turn in a thread."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Request(NamedTuple):
    """What a handler may look at."""

    headers: dict[bytes, bytes]
    receive: Receive
    declared: int | None
    """The length of the body, when the client says it."""


def parse_request(scope: Scope, receive: Receive) -> Request:
    """Read what a request says of itself."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    return Request(headers, receive, int(length) if length.isdigit() and len(length) < 20 else None)


def refusal(refused: Refused) -> Answer:
    """Answer with the reason; what is only for now says when to try again."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if refused.status == 401:
        headers = ((b"www-authenticate", b"Bearer"),)
    elif refused.status == 503:
        headers = ((b"retry-after", b"1"),)
    return Answer(refused.status, msgspec.json.encode(refused.body()), headers=headers)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read a body.

    Raises:
        Refused: 413, it is too large; 408, it does not arrive in time.
        Disconnected: the client went away.
    """
    declared = request.declared
    if declared is not None and declared > limits.body:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_seconds):
            body, more = await _chunk(request.receive)
            if more and len(body) != declared:  # Usually this is all.
                body = await _rest(body, request.receive, limits)
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {limits.body_seconds:g} s") from None
    if len(body) > limits.body:
        raise _too_large(limits)
    return body


async def _rest(first: bytes, receive: Receive, limits: Limits) -> bytes:
    chunks, size, more = [first], len(first), True
    while more and size <= limits.body:
        chunk, more = await _chunk(receive)
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _too_large(limits: Limits) -> Refused:
    return Refused(413, f"the body is larger than {limits.body} bytes")
