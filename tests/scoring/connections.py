"""A client and a server of the service's own kind that talk in one event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.server import ServerState

from mlops.scoring import server


def converse(app: Any, client: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
    """Let a client talk to a server of its own."""

    async def both() -> None:
        config = server.configure(app)
        config.load()
        state = ServerState()
        listening = await asyncio.get_running_loop().create_server(
            lambda: server.Connection(config, state, {}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        try:
            async with asyncio.timeout(10):
                await client(reader, writer)
        finally:
            writer.close()
            listening.close()

    with asyncio.Runner(loop_factory=server.configure(app).get_loop_factory()) as runner:
        runner.run(both())
