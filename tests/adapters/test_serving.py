"""The wait for a service to follow: until it serves, cannot, or takes too long."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from mlops.adapters.serving import NotServed, wait_until_served


@contextmanager
def service(ready: Callable[[], dict[str, Any]]) -> Iterator[str]:
    """A service whose ``/readyz`` is the test's."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = json.dumps(ready()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def error(generation: int, *, transient: bool) -> dict[str, Any]:
    return {"generation": 1, "error": {"generation": generation, "reason": "altered", "transient": transient}}


def test_a_generation_that_cannot_be_served_ends_the_wait_with_the_reason() -> None:
    with (
        service(lambda: error(2, transient=False)) as url,
        pytest.raises(NotServed, match="cannot serve generation 2: altered"),
    ):
        wait_until_served(url, 2)


def test_a_passing_problem_is_waited_out() -> None:
    reports = iter([error(2, transient=True), error(1, transient=False), {"generation": 2, "error": None}])
    with service(lambda: next(reports)) as url:
        wait_until_served(url, 2)


def test_a_service_that_goes_on_without_a_state_does_not_serve_the_new_one_yet() -> None:
    stateless = {"generation": 7, "error": {"generation": None, "reason": "no serving state", "transient": False}}
    reports = iter([stateless, stateless, {"generation": 1, "error": None}])
    with service(lambda: next(reports)) as url:
        wait_until_served(url, 1)
    assert next(reports, None) is None


def test_the_end_of_the_wait_tells_the_problem() -> None:
    with (
        service(lambda: error(2, transient=True)) as url,
        pytest.raises(NotServed, match=r"serves 1 0.1 s after generation 2 was written \(altered\)"),
    ):
        wait_until_served(url, 2, timeout=0.1)
