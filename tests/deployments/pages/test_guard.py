"""The sign-in before pages: nothing but a probe's path answers without it."""

import asyncio
import base64
from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message
from starlette.websockets import WebSocket

from deployments.pages.guard import expected_sign_in, guarded, is_guarded
from mlops.adapters.sign_in import VARIABLE, SignIn, SignInError


def page(_: object) -> PlainTextResponse:
    return PlainTextResponse("inside")


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


APP = guarded(
    Starlette(routes=[Route("/health", page), Route("/health/more", page), WebSocketRoute("/ws", talk)]),
    SignIn("mlops", "p:a"),
    "/health",
)
Ask = Callable[..., httpx.Response]


def ask(path: str, authorization: str | None = None) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://localhost") as client:
            return await client.get(path, headers={"Authorization": authorization.encode()} if authorization else {})

    return asyncio.run(send())


def basic(text: str, word: str = "Basic") -> str:
    return f"{word} {base64.b64encode(text.encode()).decode()}"


def test_who_signs_in_is_let_in() -> None:
    assert ask("/health/more", basic("mlops:p:a")).text == "inside"
    assert ask("/health/more", basic("mlops:p:a", "bAsIc")).text == "inside"


@pytest.mark.parametrize(
    "authorization",
    [None, basic("mlops:p"), basic("mlops:p:a "), basic("other:p:a"), basic(""), basic("mlops:p:a", "Bearer"),
     "Basic", "Basic é", "Basic ====", "mlops:p:a"],
)  # fmt: skip
def test_everybody_else_is_asked(authorization: str | None) -> None:
    answer = ask("/health/more", authorization)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="mlops", charset="UTF-8"')
    assert "inside" not in answer.text


def test_a_probes_path_alone_is_open() -> None:
    assert ask("/health").text == "inside"
    assert [ask(path).status_code for path in ("/health/", "/health/more", "//health", "/HEALTH")] == [401] * 4


def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(APP({"type": "websocket", "path": "/ws", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def test_a_guard_without_a_password_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not is_guarded()
    for empty in ("", "mlops:"):
        monkeypatch.setenv(VARIABLE, empty)
        assert is_guarded()
        with pytest.raises(SignInError, match="MLOPS_SERVERS_SIGN_IN holds no user:password"):
            expected_sign_in()
