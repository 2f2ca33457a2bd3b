"""The one port of the twin: ends CONNECT for Azure's host names itself and refuses every other name."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from infra.azure_twin.streams import copy

Address = tuple[str, int]
Route = Callable[[str, int], Address | None]
Strike = Callable[[str], bool]


class Proxy:
    """Splices what CONNECT asks for to an address on loopback; requests without CONNECT go to ``plain``.

    ``route`` says where a host and port lead, or that they are not the twin's; ``strike`` is asked with the host
    for all that a client sends, and says whether the network fails at that.
    """

    def __init__(self, route: Route, plain: Address, strike: Strike) -> None:
        self._route = route
        self._plain = plain
        self._strike = strike
        self._tunnels: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on loopback; return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._server:
            self._server.close()
        for port in list(self._tunnels):
            self.cut(port)

    def cut(self, port: int) -> None:
        """Reset the connection that arrives at the twin's server from this port, as a failing network does."""
        for writer in self._tunnels.pop(port, ()):
            if connection := writer.get_extra_info("socket"):
                with contextlib.suppress(OSError):  # It is closed already.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b" ", 2)
            if method == b"CONNECT":
                await self._connect(target.decode("ascii", "replace"), reader, writer)
            else:
                await self._splice(self._plain, reader, writer, head, b"", "")
        writer.close()

    async def _connect(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        host = host.strip("[]").lower()
        address = self._route(host, int(port)) if port.isdecimal() else None
        if address is None:
            text = f"the Azure twin does not know {target} and relays nothing to the outside"
            writer.write(
                f"HTTP/1.1 403 {text}\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
            )
            await writer.drain()
            return
        await self._splice(address, reader, writer, b"", b"HTTP/1.1 200 Connection established\r\n\r\n", host)

    async def _splice(
        self,
        to: Address,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        greeting: bytes,
        host: str,
    ) -> None:
        try:
            upstream_reader, upstream = await asyncio.open_connection(*to)
        except OSError as error:
            writer.write(f"HTTP/1.1 502 {to[0]}:{to[1]} does not answer ({error.strerror})\r\n\r\n".encode())
            return
        port = upstream.get_extra_info("sockname")[1]
        self._tunnels[port] = (writer, upstream)
        try:
            writer.write(greeting)
            upstream.write(head)

            def watch() -> None:
                if host and self._strike(host):
                    self.cut(port)

            await asyncio.gather(copy(reader, upstream, watch), copy(upstream_reader, writer))
        finally:
            self._tunnels.pop(port, None)
            upstream.close()
