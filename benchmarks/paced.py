"""Load at a given rate, which wrk cannot make: requests at random moments, however long the answers take.

A connection is opened when it is needed and kept as long as the server keeps it. (wrk with pauses would open it
before the pause, and a server that takes one connection at a time would wait for it.) One thread around ``select``
takes a tenth of what asyncio's streams take, which on a machine with few cores would be the server's.
"""

import gc
import random
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.load import CONNECTIONS, Load, LoadError

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"^HTTP/1\.0|\r\nconnection: *close\r\n", re.IGNORECASE)
TIMEOUT_SECONDS = 10.0
"""For one answer, from when its request was sent."""
IDLE_SECONDS = 10.0
"""A connection that was idle for longer is not used again: a server closes such, maybe just when a request comes."""


class Answer(NamedTuple):
    """What became of one request."""

    number: int
    seconds: float
    status: int
    """0: there was no whole answer."""
    body: bytes


def send_paced(url: str, body: Path, seconds: int, rate: float, *, authorization: str) -> Load:
    """POST a file at a rate (requests a second), on ``CONNECTIONS`` connections at most.

    Raises:
        LoadError: the answers did not come in time, or there were none.
    """
    sent, found = request(url, body.read_bytes(), authorization), list[Answer]()
    deadline = time.perf_counter() + seconds + 30
    gc.disable()  # A full collection of this process would look like a slow answer.
    try:
        for answer in drive(url, schedule(rate, seconds), lambda _: sent):
            found.append(answer)
            if time.perf_counter() > deadline:
                raise LoadError(f"{rate:.0f} requests/s for {seconds} s were not answered within {seconds + 30} s")
    finally:
        gc.enable()
    return summary(found, seconds)


def summary(answers: list[Answer], seconds: float) -> Load:
    """What was measured.

    Raises:
        LoadError: no request had a good answer.
    """
    good = sorted(1000 * each.seconds for each in answers if 200 <= each.status < 300)
    broken = sum(each.status == 0 for each in answers)
    refused = len(answers) - broken - len(good)
    if not good:
        raise LoadError(f"no good answer under paced load ({refused} refused, {broken} broken)")
    p50, p99 = (good[min(int(share * len(good)), len(good) - 1)] for share in (0.5, 0.99))
    return Load(len(good), seconds, p50, p99, refused=refused, broken=broken)


def schedule(rate: float, seconds: float) -> Iterator[float]:
    """Moments of a Poisson process, in seconds from now; the same ones in every run."""
    chance, moment = random.Random(1984), 0.0  # noqa: S311 - Load, not secrets.
    while (moment := moment + chance.expovariate(rate)) < seconds:
        yield moment


def request(url: str, body: bytes, authorization: str, *, request_id: str = "") -> bytes:
    """One POST of JSON, as it goes over the wire."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    head += f"X-Request-ID: {request_id}\r\n" if request_id else ""
    return f"{head}Authorization: {authorization}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def drive(
    url: str, moments: Iterator[float], build: Callable[[int], bytes], connections: int = CONNECTIONS
) -> Iterator[Answer]:
    """Send a request at each moment (seconds from now) and yield the answers as they come.

    A request that finds all connections busy waits, and its waiting counts; the timer's own lateness does not.

    Args:
        url: of the server, without TLS.
        moments: when to send; may end at any time.
        build: makes the request of a number, from 0 on.
        connections: most of them at once.
    """
    driver = _Driver(url, connections)
    began, waiting, number = time.perf_counter(), deque[tuple[int, float]](), 0
    moment = next(moments, None)
    try:
        while moment is not None or waiting or driver.busy:
            now = time.perf_counter()
            while moment is not None and began + moment <= now:
                waiting.append((number, now))
                number, moment = number + 1, next(moments, None)
            while waiting and driver.free:
                yield from driver.send(*waiting[0], build(waiting.popleft()[0]))
            # The answers wake it; so does a moment to come, and now and then a look for what is overdue.
            until = 0.5 if moment is None else min(0.5, max(0.0, began + moment - time.perf_counter()))
            yield from driver.receive(until)
    finally:
        driver.close()


@dataclass
class _Connection:
    """A connection and the request that it carries."""

    socket: socket.socket
    number: int = 0
    start: float = 0.0
    sent: float = 0.0
    ended: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def answer(self) -> tuple[int, bytes, bool] | None:
        """The status, the body and whether the server closes the connection, once all of it is there."""
        end = self.received.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        head = bytes(self.received[:end])
        if not (length := LENGTH.search(head)):
            raise LoadError(f"an answer without Content-Length: {head[:200]!r}")
        if len(self.received) < end + int(length[1]):
            return None
        return int(head.split(b" ", 2)[1]), bytes(self.received[end:]), CLOSES.search(head) is not None


class _Driver:
    """Connections to one server, each idle or with a request on it."""

    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._connections = connections
        self._idle: list[_Connection] = []
        self.busy: dict[socket.socket, _Connection] = {}

    @property
    def free(self) -> bool:
        """Whether another request can be sent now."""
        return len(self.busy) < self._connections

    def send(self, number: int, due: float, data: bytes) -> Iterator[Answer]:
        connection: _Connection | None = None
        try:
            connection = self._reused() or self._open()
            connection.number, connection.start, connection.sent = number, due, time.perf_counter()
            connection.received.clear()
            connection.socket.sendall(data)
        except OSError:
            if connection:
                connection.socket.close()
            yield Answer(number, time.perf_counter() - due, 0, b"")
            return
        self.busy[connection.socket] = connection

    def receive(self, seconds: float) -> Iterator[Answer]:
        if not self.busy:
            time.sleep(seconds)
            return
        readable, _, _ = select.select(self.busy, (), (), seconds)
        for each in readable:
            yield from self._read(self.busy[each])
        now = time.perf_counter()
        for connection in [each for each in self.busy.values() if now - each.sent > TIMEOUT_SECONDS]:
            yield self._end(connection, 0, b"", closes=True)

    def _read(self, connection: _Connection) -> Iterator[Answer]:
        try:
            data = connection.socket.recv(1 << 16)
        except OSError:
            data = b""
        connection.received += data
        if found := connection.answer():
            yield self._end(connection, *found)
        elif not data:
            yield self._end(connection, 0, b"", closes=True)

    def _end(self, connection: _Connection, status: int, body: bytes, closes: bool) -> Answer:
        del self.busy[connection.socket]
        if closes:
            connection.socket.close()
        else:
            connection.ended = time.perf_counter()
            self._idle.append(connection)
        return Answer(connection.number, time.perf_counter() - connection.start, status, body)

    def _reused(self) -> _Connection | None:
        """A lately used connection that the server has not closed meanwhile, as it may at any time between requests."""
        while self._idle:
            connection = self._idle.pop()
            closed, _, _ = select.select((connection.socket,), (), (), 0)
            if not closed and time.perf_counter() - connection.ended < IDLE_SECONDS:
                return connection
            connection.socket.close()
        return None

    def _open(self) -> _Connection:
        opened = socket.create_connection(self._address, timeout=TIMEOUT_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Connection(opened)

    def close(self) -> None:
        for connection in (*self._idle, *self.busy.values()):
            connection.socket.close()
