"""Stands for the image ``caddy``: ends TLS for a group's name and hands requests to a port of the group.

Takes the one command that Microsoft's example of automatic HTTPS uses:
``caddy reverse-proxy --from NAME --to localhost:PORT``. The certificate is the twin's.
"""

import argparse
import asyncio
import os
import ssl
import sys

from infra.azure_twin import tls_relay
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
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await tls_relay.start(address, local_port(HTTPS), local_port(port), context)
    sys.stdout.write(f"serving HTTPS on {address}:{local_port(HTTPS)}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
