"""The HTTP server: uvicorn on one thread with uvloop and httptools, and the bounds on connections that it leaves open.

An application may answer a request ``at_once``, without the task that ASGI has for each: most of what a server costs.

A server with threads of its own hands every request from one to the other and back, and each time they wait for the
interpreter: that took more than all that the service does for an answer.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mlops.scoring.http import Answer

logger = logging.getLogger(__name__)
HEAD_BYTES = 64 * 1024
"""Of a request's head, its headers and target, before the connection is closed."""
AROUND = 16
"""Bytes around each byte of a body that are no abuse: chunks of one byte have five."""
HEAD_SECONDS = 30.0
"""For a head to arrive, and for the first one on a new connection to begin."""
IDLE_SECONDS = 75
"""A connection without a request is kept for this long, longer than the usual proxies and clients keep theirs."""
DRAIN_SECONDS = 20
"""Requests that have begun may take this long when the service is stopped."""


AtOnce = Callable[[Any, bytes, Callable[[Answer], None]], bool]
"""From a request's scope, its body, and what is told the answer, to whether that will be told."""


class Connection(HttpToolsProtocol):
    """A connection whose heads are bounded in size and time, and whose requests the application may answer at once.

    The clock runs only while a head is incomplete, which it hardly ever is: it comes in one piece.
    """

    _at_once: AtOnce | None = None
    _parsing = False
    """Whether what has come is being parsed."""
    _held: RequestResponseCycle | None = None
    """A request whose head is complete, while the rest of what has come is parsed."""

    _head = 0
    """Bytes of an incomplete head, without those that came with its first ones."""
    _incomplete = False
    _clock: asyncio.TimerHandle | None = None
    _open = False
    """Whether a head is complete and its message is not."""
    _continued = False
    """Whether what has come belongs to one message that had begun before."""
    _body = 0
    """Bytes of the message's body so far."""
    _around = 0
    """Bytes around the body since the head: lengths of chunks, trailers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As in uvicorn.
        """Wait for the first request."""
        super().connection_made(transport)
        self._at_once = getattr(self.app, "at_once", None)
        self._clock = self.loop.call_later(HEAD_SECONDS, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless it is too much of a head."""
        was_incomplete, self._parsing = self._incomplete, True
        before, self._continued = self._body, self._open
        super().data_received(data)
        self._parsing = False
        if self._continued and self._open:
            self._around += max(0, len(data) - (self._body - before))
            if self._around > HEAD_BYTES + AROUND * self._body:
                self._close()
                return
        if self._held:  # Its body is still to come, and to be waited for.
            self._start_held(whole=False)
        if not self._incomplete:
            if self._clock is not None:
                self._stop_clock()
            return
        self._head = self._head + len(data) if was_incomplete else 0
        if self._head > HEAD_BYTES:
            self._close()
        elif self._clock is None:
            self._clock = self.loop.call_later(HEAD_SECONDS, self._close)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._incomplete = True
        self._body = self._around = 0
        self._continued = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._incomplete, self._open = False, True
        super().on_headers_complete()
        self.headers = []  # For what may trail a body: nobody reads it, and it must not be taken for the head's.

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._open = False
        super().on_message_complete()
        if self._held:
            self._start_held(whole=True)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin to answer: now, or as soon as all of what has come is parsed."""
        if self._parsing and cycle.more_body and app is self.app:
            self._held = cycle
        elif cycle.more_body or app is not self.app or not self._answers_at_once(cycle):
            super()._start_asgi_task(cycle, app)

    def _start_held(self, *, whole: bool) -> None:
        cycle, self._held = self._held, None
        assert cycle  # noqa: S101 - Whoever calls has looked.
        if not whole or not self._answers_at_once(cycle):
            super()._start_asgi_task(cycle, self.app)

    def _answers_at_once(self, cycle: RequestResponseCycle) -> bool:
        if self._at_once is None or cycle.waiting_for_100_continue or self.flow.write_paused:
            return False
        try:
            return self._at_once(cycle.scope, bytes(cycle.body), partial(self._respond, cycle))
        except Exception:  # Uvicorn would take it for a mistake of the client's.
            logger.exception("a request could not be answered at once")
            return False

    def _respond(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """Write an answer in one piece, and take up the next request."""
        if cycle.disconnected or self.transport.is_closing():
            return
        length = b"%d" % len(answer.body)
        headers = [*cycle.default_headers, (b"content-type", answer.kind), (b"content-length", length), *answer.headers]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        lines = [b"%b: %b\r\n" % header for header in headers]
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body]))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        cycle.on_response = _nothing  # It refers to this connection, which refers to the cycle.

    def _close(self) -> None:
        self._stop_clock()
        self.transport.abort()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


def _nothing() -> None:
    """Nothing is left to do."""


class Server(uvicorn.Server):
    """A server that a signal stops, and that lets the process go on from there."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM or SIGINT.

        Uvicorn's own would raise the signal again afterwards, and the process would end before its log is written.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True


def configure(app: Any) -> uvicorn.Config:
    """The server's options."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="critical",  # The application knows better what happens to requests.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def serve(app: Any, listener: socket.socket) -> None:
    """Answer on a listening socket by an ASGI application until a signal, then what has begun."""
    config = configure(app)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(Server(config).serve(sockets=[listener]))
