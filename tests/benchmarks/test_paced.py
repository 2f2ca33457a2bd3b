"""The paced client against small servers: what it sends, counts and survives."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import LoadError
from benchmarks.paced import drive, request, send_paced

Serve = Callable[..., str]


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def serve(answer: Callable[[BaseHTTPRequestHandler, bytes], None], protocol: str = "HTTP/1.1") -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = protocol
            wbufsize = -1  # One packet for an answer.

            def do_POST(self) -> None:
                answer(self, self.rfile.read(int(self.headers["content-length"])))

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        servers.append(Server(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/score"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_each_request_has_its_own_answer(serve: Serve, protocol: str) -> None:
    url = serve(lambda handler, body: reply(handler, body + handler.headers["x-request-id"].encode()), protocol)
    moments = iter([0.001 * i for i in range(100)])
    answers = list(drive(url, moments, lambda i: request(url, b"%d-" % i, "Bearer k", request_id=f"r{i}")))
    assert sorted((each.number, each.status, each.body) for each in answers) == [
        (i, 200, f"{i}-r{i}".encode()) for i in range(100)
    ]


def test_waiting_for_a_connection_counts(serve: Serve) -> None:
    def slow(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        time.sleep(0.05)
        reply(handler, b"{}")

    url = serve(slow)
    answers = list(drive(url, iter([0.0] * 6), lambda _: request(url, b"", ""), connections=2))
    assert [round(each.seconds / 0.05) for each in sorted(answers, key=lambda each: each.seconds)] == [1, 1, 2, 2, 3, 3]


def test_refused_and_broken_are_counted_apart_from_good_answers(serve: Serve, tmp_path: Path) -> None:
    count = iter(range(10**9))

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        match next(count) % 10:
            case 0:
                reply(handler, b"no", 503)
            case 1:
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                handler.close_connection = True
            case _:
                reply(handler, b"{}")

    (tmp_path / "body").write_bytes(b"{}")
    found = send_paced(serve(answer), tmp_path / "body", 1, 300, authorization="")
    total = found.requests + found.refused + found.broken
    assert total == pytest.approx(300, rel=0.2)
    assert found.refused == pytest.approx(total / 10, abs=1)
    assert found.broken == pytest.approx(total / 10, abs=1)
    assert 0 < found.p50_ms < found.p99_ms


def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"{}")
    with pytest.raises(LoadError, match="no good answer"):
        send_paced("http://127.0.0.1:9/score", tmp_path / "body", 1, 20, authorization="")


def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(serve: Serve) -> None:
    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        reply(handler, b"{}")
        handler.close_connection = True  # Without having said so.

    url = serve(answer)
    answers = list(drive(url, iter([0.0, 0.2, 0.4]), lambda _: request(url, b"", "")))
    assert [each.status for each in answers] == [200, 200, 200]
