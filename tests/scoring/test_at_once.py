"""What is answered at once, without a task, is answered as it would be with one, in order and within limits."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from mlops.adapters.prediction_log import read_predictions
from mlops.scoring import server
from mlops.scoring.http import Answer
from tests.scoring.conftest import KEY
from tests.scoring.connections import converse

FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
MANY = 5_000
"""Answers of 10 KB that no buffer holds."""


class Echo:
    """Answers a body with itself: ``soon`` at once when the loop comes to it, anything else by a task."""

    def __init__(self) -> None:
        self.by_task: list[bytes] = []
        self.at_once_asked: list[bytes] = []
        self.told: list[Callable[[Answer], None]] = []

    def at_once(self, _: Any, body: bytes, respond: Callable[[Answer], None]) -> bool:
        self.at_once_asked.append(body)
        if body.startswith(b"soon"):
            asyncio.get_running_loop().call_soon(respond, Answer(200, body))
        elif body.startswith(b"later"):
            self.told.append(respond)
        elif body.startswith(b"fault"):
            raise RuntimeError("a fault of ours")
        else:
            return False
        return True

    async def __call__(self, _: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.by_task.append(body)
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def post(body: bytes, *headers: str, path: str = "/score", version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: h", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


def test_answers_keep_the_order_of_their_requests() -> None:
    echo, bodies = Echo(), [b"soon 1", b"task 2", b"soon 3", b"soon 4", b"task 5"]

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(map(post, bodies)))
        assert [(await read_answer(reader))[2] for _ in bodies] == bodies

    converse(echo, client)
    assert echo.by_task == [b"task 2", b"task 5"]
    assert echo.at_once_asked == bodies


def test_a_body_that_comes_later_is_waited_for_by_a_task() -> None:
    echo = Echo()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in (post(b"soon 1"), post(b"soon 2")):
            for cut in (len(request) - 3, len(request)):
                writer.write(request[:cut] if cut < len(request) else request[-3:])
                await writer.drain()
                await asyncio.sleep(0.02)
            assert (await read_answer(reader))[2].startswith(b"soon")

    converse(echo, client)
    assert echo.by_task == [b"soon 1", b"soon 2"]
    assert echo.at_once_asked == []


def test_a_client_that_waits_for_100_continue_is_told_to() -> None:
    echo = Echo()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 6"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"soon 1")
        assert (await read_answer(reader))[2] == b"soon 1"

    converse(echo, client)


def test_what_goes_wrong_is_logged_and_answered_by_a_task(caplog: pytest.LogCaptureFixture) -> None:
    echo = Echo()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"fault"))
        status, _, body = await read_answer(reader)
        assert (status, body) == (200, b"fault")

    converse(echo, client)
    assert echo.by_task == [b"fault"]
    assert "a fault of ours" in caplog.text


@pytest.mark.parametrize("request_", [post(b"soon", "Connection: close"), post(b"soon", version="1.0")])
def test_a_connection_is_closed_when_the_client_wants_it(request_: bytes) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request_)
        status, headers, body = await read_answer(reader)
        assert (status, headers["connection"], body) == (200, "close", b"soon")
        assert await reader.read() == b""

    converse(Echo(), client)


def test_an_answer_to_a_client_that_has_gone_is_dropped() -> None:
    echo = Echo()

    async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"later"))
        while not echo.told:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        echo.told[0](Answer(200, b"late"))

    converse(echo, client)


def test_a_stop_waits_for_the_answer_and_closes_the_connection() -> None:
    echo, connections = Echo(), []
    made = server.Connection.connection_made

    class Known(server.Connection):
        def connection_made(self, transport: Any) -> None:
            connections.append(self)
            made(self, transport)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(b"later"))
        while not echo.told:
            await asyncio.sleep(0.01)
        (connection,) = connections
        connection.shutdown()
        echo.told[0](Answer(200, b"still"))
        assert (await read_answer(reader))[1:] == ({"content-type": "application/json", "content-length": "5",
                                                    "connection": "close"}, b"still")  # fmt: skip
        assert await reader.read() == b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "Connection", Known)
        converse(echo, client)


def test_who_does_not_read_is_not_written_to_for_ever() -> None:
    echo, asked = Echo(), post(b"soon" + b"x" * 10_000)

    async def client(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport: Any = writer.transport
        transport.pause_reading()
        before = -1
        while len(echo.at_once_asked) > before or transport.get_write_buffer_size() == 0:
            before = len(echo.at_once_asked)
            writer.write(asked * 200)
            await asyncio.sleep(0.2)
        assert before < MANY
        transport.abort()
        await asyncio.sleep(0.05)  # The server's task waits until it may write, or sees that nobody reads.

    converse(echo, client)


class AtOnce:
    """The same application without any other way."""

    def __init__(self, app: Any) -> None:
        self.at_once = app.at_once

    async def __call__(self, scope: Any, _: Any, __: Any) -> None:
        raise AssertionError(f"a task is made for {scope}")


class ByTask:
    """The same application without its short way."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


ONE = json.dumps(FLOWER).encode()
REQUESTS = {
    "a record": post(ONE, f"Authorization: Bearer {KEY}", "X-Request-ID: a"),
    "a batch": post(b"[%b,%b]" % (ONE, ONE), f"Authorization: Bearer {KEY}", "X-Request-ID: a"),
    "no key": post(ONE, "X-Request-ID: a"),
    "a wrong key": post(ONE, "Authorization: Bearer wrong", "X-Request-ID: a"),
    "a bad id": post(ONE, f"Authorization: Bearer {KEY}", "X-Request-ID: a b"),
    "no JSON": post(b"{", f"Authorization: Bearer {KEY}", "X-Request-ID: a"),
    "a wrong field": post(b'{"SepalLengthCm": "x"}', f"Authorization: Bearer {KEY}", "X-Request-ID: a"),
    "too large": post(b'{"a": "%b"}' % (b"x" * 9_000), f"Authorization: Bearer {KEY}", "X-Request-ID: a"),
    "no body": post(b"", f"Authorization: Bearer {KEY}", "X-Request-ID: a"),
    "another path": post(ONE, f"Authorization: Bearer {KEY}", path="/elsewhere"),
    "another method": post(ONE, f"Authorization: Bearer {KEY}").replace(b"POST", b"PUT"),
    "labels": post(b'[{"request_id": "a", "label": "1"}]', f"Authorization: Bearer {KEY}", path="/feedback"),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_it_is_the_answer_that_a_task_would_give(
    publish: Any, serve: Any, iris: dict[str, bytes], request_: bytes
) -> None:
    publish(1, iris)
    service = serve("iris", body=8_000)
    found = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request_)
        found.append(await read_answer(reader))

    for app in (service.app, ByTask(service.app)):
        converse(app, client)
    assert found[0] == found[1]
    status = found[0][0]
    metrics = service.ask("/metrics").text
    if b" /score " in request_ and b"PUT" not in request_:
        assert f'requests_total{{model="iris",environment="prod",path="/score",status="{status}"}} 2' in metrics
    assert "requests_in_flight" in metrics
    assert re.search(r"requests_in_flight{[^}]*} 0\n", metrics)


def test_without_an_id_each_has_one_of_its_own_and_is_logged(service: Any, store: Any) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(ONE, f"Authorization: Bearer {KEY}") * 3)
        answers = [json.loads((await read_answer(reader))[2]) for _ in range(3)]
        assert len({answer["request_id"] for answer in answers}) == 3
        ids.extend(answer["request_id"] for answer in answers)

    ids: list[str] = []
    converse(AtOnce(service.app), client)
    service.close()
    assert read_predictions(store, "iris", "prod")["_request_id"].to_pylist() == ids


def test_a_canary_gets_its_share(publish: Any, serve: Any, iris: dict[str, bytes], stump: dict[str, bytes]) -> None:
    publish(1, iris, canary=stump, share=0.5)
    service, count = serve("iris"), 400
    versions = []

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count):
            writer.write(post(ONE, f"Authorization: Bearer {KEY}"))
            versions.append(json.loads((await read_answer(reader))[2])["model"]["version"])

    converse(service.app, client)
    assert versions.count("3") / count == pytest.approx(0.5, abs=0.15)  # Six standard deviations.


def test_a_service_that_fails_says_so(service: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("a fault of ours")

    service.app._scorer._together._answer = fail

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(post(ONE, f"Authorization: Bearer {KEY}"))
        status, _, body = await read_answer(reader)
        assert (status, json.loads(body)) == (500, {"error": "the service failed on this request; its log says why"})

    converse(service.app, client)
    assert "a fault of ours" in caplog.text
