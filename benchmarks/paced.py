"""Load at a given rate, which wrk cannot make: requests at random moments, however long the answers take.

A connection is opened when it is needed and kept as long as the server keeps it. (wrk with pauses would open it
before the pause, and a server that takes one connection at a time would wait for it.)
"""

import asyncio
import gc
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.load import CONNECTIONS, Load, LoadError

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"^HTTP/1\.0|\r\nconnection: *close\r\n", re.IGNORECASE)


def send_paced(url: str, body: Path, seconds: int, rate: float, *, authorization: str) -> Load:
    """POST a file at a rate (requests a second), on ``CONNECTIONS`` connections at most.

    A request that finds all connections busy waits, and its waiting counts.

    Raises:
        LoadError: the answers did not come in time, or there were none.
    """
    work = _Work(url, _request(url, body.read_bytes(), authorization), schedule(rate, seconds))
    gc.disable()  # A full collection of this process would look like a slow answer.
    try:
        asyncio.run(asyncio.wait_for(work.run(), seconds + 30))
    except TimeoutError:
        raise LoadError(f"{rate:.0f} requests/s for {seconds} s were not answered within {seconds + 30} s") from None
    finally:
        gc.enable()
    return work.load(seconds)


def schedule(rate: float, seconds: float) -> Iterator[float]:
    """Moments of a Poisson process, in seconds from now; the same ones in every run."""
    chance, moment = random.Random(1984), 0.0  # noqa: S311 - Load, not secrets.
    while (moment := moment + chance.expovariate(rate)) < seconds:
        yield moment


def _request(url: str, body: bytes, authorization: str) -> bytes:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Authorization: {authorization}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class _Work:
    """One run: connections that take moments from one schedule."""

    url: str
    request: bytes
    schedule: Iterator[float]
    latencies: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        began = time.perf_counter()
        await asyncio.gather(*(self._connection(began) for _ in range(CONNECTIONS)))

    def load(self, seconds: float) -> Load:
        """What was measured."""
        if not self.latencies:
            raise LoadError(f"no answer under paced load ({dict(self.wrong)})")
        ordered = sorted(1000 * latency for latency in self.latencies)
        p50, p99 = (ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.99))
        return Load(len(ordered), seconds, p50, p99, refused=self.wrong["refused"], broken=self.wrong["broken"])

    async def _connection(self, began: float) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for moment in self.schedule:
            start = began + moment
            if (early := start - time.perf_counter()) > 0:
                await asyncio.sleep(early)
                start = time.perf_counter()  # The timer's own lateness is not the server's.
            try:
                streams = streams or await asyncio.open_connection(urlsplit(self.url).hostname, urlsplit(self.url).port)
                status, closes = await self._ask(*streams)
            except (OSError, EOFError):  # An incomplete answer is an EOFError.
                self.wrong["broken"] += 1
                status, closes = b"", True
            if status.startswith(b"2"):
                self.latencies.append(time.perf_counter() - start)
            elif status:
                self.wrong["refused"] += 1
            if closes and streams:
                streams[1].close()
                streams = None
        if streams:
            streams[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, bool]:
        """Send the request; return the status and whether the server closes the connection."""
        writer.write(self.request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not (length := LENGTH.search(head)):
            raise LoadError(f"an answer without Content-Length: {head[:200]!r}")
        await reader.readexactly(int(length[1]))
        return head.split(b" ", 2)[1], CLOSES.search(head) is not None
