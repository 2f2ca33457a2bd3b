"""The upper bound: the scoring service's server and its options, reading each body and answering a constant.

``python -m benchmarks.constant PORT ANSWER``
"""

import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from mlops.scoring.server import serve

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
    serve(app(sys.argv[2].encode()), socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=2048))
