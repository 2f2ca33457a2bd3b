"""Ends TLS at an address and hands what comes to another port of the same address."""

import asyncio
import contextlib
import ssl

from infra.azure_twin.streams import copy


async def start(address: str, port: int, target: int, context: ssl.SSLContext) -> asyncio.Server:
    """Listen; where nothing answers at the target, the answer is 502."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                inner_reader, inner = await asyncio.open_connection(address, target)
            except OSError:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
            else:
                await asyncio.gather(copy(reader, inner), copy(inner_reader, writer))
        writer.close()

    return await asyncio.start_server(handle, address, port, ssl=context)
