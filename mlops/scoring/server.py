"""The HTTP server: uvicorn on one thread with uvloop and httptools, and the bounds on connections that it leaves open.

A server with threads of its own hands every request from one to the other and back, and each time they wait for the
interpreter: that took more than all that the service does for an answer.
"""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
"""Of a request's head, its headers and target, before the connection is closed."""
HEAD_SECONDS = 30.0
"""For a head to arrive, and for the first one on a new connection to begin."""
IDLE_SECONDS = 75
"""A connection without a request is kept for this long, longer than the usual proxies and clients keep theirs."""
DRAIN_SECONDS = 20
"""Requests that have begun may take this long when the service is stopped."""


class Connection(HttpToolsProtocol):
    """A connection whose heads are bounded in size and time.

    The clock runs only while a head is incomplete, which it hardly ever is: it comes in one piece.
    """

    _head = 0
    """Bytes of an incomplete head, without those that came with its first ones."""
    _incomplete = False
    _clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As in uvicorn.
        """Wait for the first request."""
        super().connection_made(transport)
        self._clock = self.loop.call_later(HEAD_SECONDS, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, unless it is too much of a head."""
        was_incomplete = self._incomplete
        super().data_received(data)
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
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._incomplete = False
        super().on_headers_complete()

    def _close(self) -> None:
        self._stop_clock()
        self.transport.abort()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None


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
