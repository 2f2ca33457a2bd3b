"""A connection may be neither slow nor large before its request has begun, and answers as HTTP says otherwise."""

import asyncio
from typing import Any

import pytest

from mlops.scoring import server
from tests.scoring.connections import converse

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, its length said."""
    body = scope["path"].encode()
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    return await reader.readexactly(2)


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection without a word."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def test_requests_follow_one_another_also_in_one_packet_and_in_pieces() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET + GET.replace(b"/a", b"/b"))
        assert [await answer(reader), await answer(reader)] == [b"/a", b"/b"]
        for byte in GET:
            writer.write(bytes([byte]))
            await writer.drain()
        assert await answer(reader) == b"/a"

    converse(echo, client)


@pytest.mark.parametrize("sent", [b"", GET[:-2], GET + GET[:-2]], ids=["nothing", "part of a head", "then part"])
def test_a_slow_head_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        if sent.startswith(GET):
            await answer(reader)
        assert await closed(reader)

    converse(echo, client)


def test_an_idle_connection_is_kept_longer_than_a_head_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.05)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(GET)
            assert await answer(reader) == b"/a"
            await asyncio.sleep(0.15)

    converse(echo, client)


def test_an_endless_head_is_not_kept() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET[:-2])
        for i in range(2 * server.HEAD_BYTES // 1000):
            writer.write(b"X-%d: " % i + b"x" * 990 + b"\r\n")
        assert await closed(reader)

    converse(echo, client)


CHUNKED = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def read_all(_: Any, receive: Any, send: Any) -> None:
    """Answer with the length of the body, once all of it is there."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%02d" % min(size, 99)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": body})


async def flood(writer: asyncio.StreamWriter, line: bytes) -> None:
    for _ in range(10_000):
        writer.write(line)
        await writer.drain()
        await asyncio.sleep(0)


def test_what_trails_a_body_is_not_kept() -> None:
    seen: list[Any] = []

    async def keeps(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await read_all(scope, receive, send)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\nx\r\n0\r\nX-Late: value\r\n\r\n" + GET)
        assert [await answer(reader), await answer(reader)] == [b"01", b"00"]
        writer.write(CHUNKED + b"0\r\n")
        with pytest.raises(ConnectionError):
            await flood(writer, b"a: " + b"b" * 1000 + b"\r\n")

    converse(keeps, client)
    assert [name for scope in seen for name, _ in scope["headers"] if name in (b"x-late", b"a")] == []


def test_a_body_in_many_small_chunks_is_taken() -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _ in range(30):
            writer.write(b"1\r\nx\r\n" * 1000)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert await answer(reader) == b"99"

    converse(read_all, client)
