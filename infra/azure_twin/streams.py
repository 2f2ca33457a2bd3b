"""Bytes from one connection to another."""

import asyncio
import contextlib
from collections.abc import Callable

CHUNK = 1 << 16


async def copy(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, before: Callable[[], None] = lambda: None
) -> None:
    """Pass on what comes until it ends, then close; ``before`` is called ahead of each piece."""
    try:
        while data := await source.read(CHUNK):
            before()
            sink.write(data)
            await sink.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            sink.close()
