"""Runs a twin: ``python -m infra.azure_twin --state FOLDER``; its environment is ``environment.json`` there."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from infra.azure_twin import isolation
from infra.azure_twin.twin import Forward, Twin, private_folder


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then end every container."""
    parser = argparse.ArgumentParser(prog="python -m infra.azure_twin", description=__doc__)
    parser.add_argument(
        "--state", type=Path, required=True, help="folder for its certificates, volumes and environment"
    )
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0: a free one")
    parser.add_argument("--location", default="westeurope")
    parser.add_argument(
        "--forward", type=_forward, action="append", default=[], metavar="HOST=127.0.0.1:PORT",
        help="a host of Azure for which another server on loopback stands in",
    )  # fmt: skip
    parser.add_argument(
        "--certificate", action="append", default=[], metavar="HOST",
        help="write authority/HOST.pem, with which such a server speaks TLS for that name",
    )  # fmt: skip
    told = parser.parse_args(arguments)
    state = private_folder(told.state.resolve())
    sweep(state)
    twin = Twin(state, told.location, tuple(told.forward))
    for name in told.certificate:
        twin.authority.certificate_file(name)
    asyncio.run(_serve(twin, told.port))
    return 0


async def _serve(twin: Twin, port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await twin.start(port)
    sys.stdout.write(f"{twin.state / 'environment.json'}: proxy {twin.url}\n")
    sys.stdout.flush()
    await ended.wait()
    await twin.stop()


def sweep(state: Path) -> None:
    """End containers that outlived a killed twin of the same folder."""
    isolation.end_now(str(state), isolation.TWIN)


def _forward(text: str) -> Forward:
    host, _, address = text.partition("=")
    name, _, port = address.rpartition(":")
    if not host or name not in ("127.0.0.1", "localhost") or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST=127.0.0.1:PORT; the twin reaches loopback only")
    return Forward(host.lower(), (name, int(port)))


if __name__ == "__main__":
    sys.exit(main())
