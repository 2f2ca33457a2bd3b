"""The upper bound: granian with the scoring service's options, reading each body and answering a constant.

``python -m benchmarks.constant PORT ANSWER``
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

Message = MutableMapping[str, Any]


def app(answer: bytes) -> Callable[..., Awaitable[None]]:
    """Build an ASGI application that gives every request this JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]

    async def constant(_: Message, receive: Callable[[], Awaitable[Message]], send: Callable[..., Any]) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return constant


if __name__ == "__main__":
    server = Server(
        app(sys.argv[2].encode()),
        address="127.0.0.1",
        port=int(sys.argv[1]),
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    asyncio.run(server.serve())
