"""Stands for the image ``caddy``: ends TLS for a group's name and hands requests to a port of the group.

Takes the one command that Microsoft's example of automatic HTTPS uses:
``caddy reverse-proxy --from NAME --to localhost:PORT``. The certificate is the twin's.
"""

import argparse
import asyncio
import contextlib
import os
import ssl
import sys

from infra.azure_twin.containers import local_port

HTTPS = 443


def main(arguments: list[str] | None = None) -> int:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="caddy")
    commands = parser.add_subparsers(dest="command", required=True)
    proxy = commands.add_parser("reverse-proxy")
    proxy.add_argument("--from", dest="name", required=True)
    proxy.add_argument("--to", required=True)
    told = parser.parse_args(arguments)
    address = os.environ["AZURE_TWIN_ADDRESS"]
    asyncio.run(_serve(address, int(told.to.rpartition(":")[2]), os.environ["AZURE_TWIN_CERTIFICATE"]))
    return 0


async def _serve(address: str, port: int, certificate: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            try:
                inner_reader, inner = await asyncio.open_connection(address, local_port(port))
            except OSError:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nServer: Caddy\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
            else:
                await asyncio.gather(_copy(reader, inner), _copy(inner_reader, writer))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(handle, address, local_port(HTTPS), ssl=context)
    sys.stdout.write(f"serving HTTPS on {address}:{local_port(HTTPS)}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            sink.close()


if __name__ == "__main__":
    sys.exit(main())
