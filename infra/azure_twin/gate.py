"""What every request to an Azure host passes: faults strike here, and each exchange is kept."""

import asyncio
import base64
import datetime
import fnmatch
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.azure_twin import entra_errors
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.exchanges import Exchange, Exchanges, decoded
from infra.azure_twin.faults import TRANSPORT, Fault, Faults


class Hosts:
    """Which application answers for which host name; patterns as ``fnmatch`` has them, the first one wins."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, ASGIApp]] = []

    def add(self, pattern: str, app: ASGIApp) -> None:
        """Let an application answer for host names of a pattern."""
        self._routes.append((pattern, app))

    def find(self, host: str) -> ASGIApp | None:
        """The application of a host."""
        return next((app for pattern, app in self._routes if fnmatch.fnmatch(host, pattern)), None)


class Gate:
    """ASGI application of all Azure hosts."""

    def __init__(
        self,
        hosts: Hosts,
        faults: Faults,
        exchanges: Exchanges,
        cut: Callable[[int], None],
        refuse: Callable[[Request], AzureError],
    ) -> None:
        self._hosts = hosts
        self._faults = faults
        self._exchanges = exchanges
        self._cut = cut
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the twin answers no {scope['type']}")
        request = Request(scope, receive)
        host = request.headers.get("host", "").partition(":")[0].lower()
        body = await request.body()
        fault = self._faults.take(TRANSPORT, f"{host}{scope['path']}", request.method)
        if fault and fault.kind == "network cut":
            self._keep(request, host, body, 0, {}, b"", fault)
            return self._cut(scope["client"][1])
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind not in ("slow", "answer lost"):
            app: ASGIApp = (
                error_response(self._refuse(request)) if fault.kind == "forbidden" else _answer(fault, request)
            )
        else:
            app = self._hosts.find(host) or PlainTextResponse(f"the Azure twin has no {host}", 404)
        await self._call(app, request, host, body, fault, send)
        if fault and fault.kind == "answer lost":
            self._cut(scope["client"][1])

    async def _call(
        self, app: ASGIApp, request: Request, host: str, body: bytes, fault: Fault | None, send: Send
    ) -> None:
        started: dict[str, Any] = {}
        chunks: list[bytes] = []

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            elif message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
            if not (fault and fault.kind == "answer lost"):
                await send(message)

        await app(request.scope, replay, watch)
        headers = {key.decode().lower(): value.decode("latin-1") for key, value in started.get("headers", [])}
        self._keep(request, host, body, started.get("status", 0), headers, b"".join(chunks), fault)

    def _keep(
        self,
        request: Request,
        host: str,
        body: bytes,
        status: int,
        headers: dict[str, str],
        answer: bytes,
        fault: Fault | None,
    ) -> None:
        self._exchanges.add(
            Exchange(
                method=request.method,
                host=host,
                path=request.url.path,
                query=dict(request.query_params),
                request_headers=dict(request.headers),
                request=decoded(body),
                status=status,
                response_headers=headers,
                response=decoded(answer),
                fault=fault.kind if fault else "",
            )
        )


def error_response(error: AzureError) -> Response:
    """An error as Resource Manager answers it."""
    return JSONResponse(error.body, error.status, error.headers)


def now() -> str:
    """This moment as Azure writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def _answer(fault: Fault, request: Request) -> Response:
    """The answer of a fault that stands in front of every service."""
    if fault.kind == "wrong secret":
        return entra_errors.response("wrong secret", app="the application")
    operation = "Write" if request.method in ("PUT", "POST", "PATCH", "DELETE") else "Read"
    error = documented(fault.kind, operation=operation, time=now(), expiry=now(), subscription="")
    if fault.kind == "throttled" and fault.seconds:
        error.headers["Retry-After"] = f"{fault.seconds:.0f}"
    if fault.kind == "claims challenge":
        claims = base64.b64encode(json.dumps({"access_token": {"nbf": {"essential": True}}}).encode()).decode()
        error.headers["WWW-Authenticate"] = (
            'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
            f'error="insufficient_claims", claims="{claims}"'
        )
    if fault.kind == "expired token":
        error.headers["WWW-Authenticate"] = (
            'Bearer authorization_uri="https://login.microsoftonline.com/", error="invalid_token", '
            f'error_description="{error.message}"'
        )
    return error_response(error)
