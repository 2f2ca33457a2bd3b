"""The scoring service as an ASGI application: routing, keys, limits, and the answers' form.

Plain ASGI, since a framework's routing and request objects cost nearly half of the throughput.
"""

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.prediction_tables import Labels, Predictions
from mlops.core.serving import Served
from mlops.scoring.errors import FieldError, Refused, unusable
from mlops.scoring.keys import KeyFile
from mlops.scoring.metrics import Metrics
from mlops.scoring.model import Model
from mlops.scoring.openapi import describe
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Generation, Serving
from mlops.scoring.validation import REQUEST_ID, decode, labels

logger = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 8 * 1024 * 1024
"""Bytes in one request."""
BODY_SECONDS = 30.0
"""A client that sends more slowly than this is let go."""
INLINE_BODY = 16 * 1024
"""Larger requests are scored in a thread, so that small ones do not wait for them."""
JSON = b"application/json"


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Disconnected(Exception):
    """The client went away before its request was complete."""


class Request(NamedTuple):
    """What a handler may look at."""

    headers: dict[bytes, bytes]
    receive: Receive


Handler = Callable[[Request], Awaitable[Answer]]


class ScoringApp:
    """Answers the requests of one scoring service."""

    def __init__(
        self, model: str, environment: str, serving: Serving, log: PredictionLog, shadow: Shadow, keys: KeyFile
    ) -> None:
        self._model = model
        self._environment = environment
        self._serving = serving
        self._log = log
        self._shadow = shadow
        self._keys = keys
        self._metrics = Metrics()
        self._routes: dict[str, tuple[str, Handler]] = {
            "/score": ("POST", self._score),
            "/feedback": ("POST", self._feedback),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._render_metrics),
            "/openapi.json": ("GET", self._openapi),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the interface of ASGI)."""
        started = time.perf_counter()
        path = scope["path"]
        try:
            answer = await self._answer(scope, path, receive)
        except Disconnected:
            return
        except Refused as refused:
            answer = _refusal(refused)
        except Exception:
            logger.exception("%s %s failed", scope["method"], path)
            answer = Answer(500, msgspec.json.encode({"error": "the service failed on this request; its log says why"}))
        await _send(send, answer, with_body=scope["method"] != "HEAD")
        if path in self._routes:
            self._metrics.observe(path, answer.status, time.perf_counter() - started)

    async def _answer(self, scope: Scope, path: str, receive: Receive) -> Answer:
        method, handler = self._routes.get(path, ("", None))
        if handler is None:
            raise Refused(404, f"there is no such path; there are {', '.join(self._routes)}")
        if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            body = msgspec.json.encode({"error": f"use {method}"})
            return Answer(405, body, headers=((b"allow", b"POST" if method == "POST" else b"GET, HEAD"),))
        request = Request(dict(scope["headers"]), receive)
        if method == "POST" and not self._keys.allows(request.headers.get(b"authorization")):
            raise Refused(401, "a valid key is needed: Authorization: Bearer KEY")
        return await handler(request)

    async def _score(self, request: Request) -> Answer:
        generation = self._ready()
        request_id = _request_id(request.headers)
        body = await _body(request)
        if len(body) <= INLINE_BODY:
            return Answer(200, self._predict(generation, request_id, body))
        return Answer(200, await asyncio.to_thread(self._predict, generation, request_id, body))

    def _predict(self, generation: Generation, request_id: str, body: bytes) -> bytes:
        """Decode, check, score, log; return the answer's JSON."""
        role, served, model = generation.choose(request_id)
        payload = decode(body)
        rows = model.checker.rows(payload)
        predicted, probabilities = model.predict(rows)
        batch = isinstance(payload, list)
        entry = Predictions(
            schema=model.schema,
            request_ids=[f"{request_id}.{i}" for i in range(len(rows))] if batch else [request_id],
            time=datetime.now(UTC),
            generation=generation.state.generation,
            version=served.version,
            digest=served.digest,
            role=role,
            predicted=predicted,
            probabilities=probabilities,
            rows=rows,
        )
        self._log.add(entry)
        if generation.shadow and generation.state.shadow:
            self._shadow.submit(generation.state.shadow, generation.shadow, payload, rows, entry)
        return _scored(self._model, served, model, entry, request_id, batch)

    async def _feedback(self, request: Request) -> Answer:
        classes = self._ready().champion.classes
        checked = labels(decode(await _body(request)), classes)
        entry = Labels(
            request_ids=[each.request_id for each in checked],
            time=datetime.now(UTC),
            labels=[each.label for each in checked],
        )
        if not self._log.add(entry):
            raise Refused(503, "the log is full because the store does not take it; send the labels again later")
        return Answer(202, msgspec.json.encode({"accepted": len(checked)}))

    async def _healthz(self, _: Request) -> Answer:
        lives = {"status": "ok", "model": self._model, "environment": self._environment, "pid": os.getpid()}
        return Answer(200, msgspec.json.encode(lives))

    async def _readyz(self, _: Request) -> Answer:
        current = self._serving.current
        state = current.state if current else None
        report = {
            "status": "ready" if state else "not ready",
            "model": self._model,
            "environment": self._environment,
            "generation": state.generation if state else None,
            "champion": state.champion if state else None,
            "shadow": state.shadow if state else None,
            "canary": state.canary if state else None,
            "error": self._serving.problem,
        }
        return Answer(200 if state else 503, msgspec.json.encode(report))

    async def _render_metrics(self, _: Request) -> Answer:
        current = self._serving.current
        body = self._metrics.render(
            {"model": self._model, "environment": self._environment},
            gauges={
                "generation": current.state.generation if current else 0,
                "state_error": self._serving.problem is not None,
                "log_queued_rows": self._log.queued,
            },
            counters={
                "log_dropped_rows_total": self._log.dropped,
                "shadow_skipped_requests_total": self._shadow.skipped,
            },
        )
        return Answer(200, body, b"text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, _: Request) -> Answer:
        current = self._ready()
        return Answer(200, msgspec.json.encode(describe(current.champion.about, current.state.champion)))

    def _ready(self) -> Generation:
        if current := self._serving.current:
            return current
        problem = self._serving.problem
        raise Refused(503, f"no model serves yet: {problem.reason if problem else 'starting'}")


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is None:
        return uuid.uuid4().hex
    text = given.decode("latin-1")
    if not REQUEST_ID.fullmatch(text):
        raise unusable([FieldError("X-Request-ID", "must be 1 to 80 letters, digits, dots, dashes or underscores")])
    return text


async def _body(request: Request) -> bytes:
    length = request.headers.get(b"content-length", b"")
    declared = int(length) if length.isdigit() else None
    if declared is not None and declared > MAX_BODY:
        raise _too_large()
    body, more = await _chunk(request.receive)
    # Usually this is all. To ask whether more comes when none can would cost half of the throughput.
    if more and len(body) != declared:
        body = await _rest(body, request.receive)
    if len(body) > MAX_BODY:
        raise _too_large()
    return body


async def _rest(first: bytes, receive: Receive) -> bytes:
    chunks, size, more = [first], len(first), True
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while more and size <= MAX_BODY:
                chunk, more = await _chunk(receive)
                chunks.append(chunk)
                size += len(chunk)
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None
    return b"".join(chunks)


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _too_large() -> Refused:
    return Refused(413, f"the body is larger than {MAX_BODY} bytes")


def _scored(name: str, served: Served, model: Model, entry: Predictions, request_id: str, batch: bool) -> bytes:
    key, classes = model.schema.output, model.classes
    output: list[dict[str, str]] = [{key: label} for label in entry.predicted]
    probabilities = [dict(zip(classes, row, strict=True)) for row in entry.probabilities]
    return msgspec.json.encode(
        {
            "output": output if batch else output[0],
            "probabilities": probabilities if batch else probabilities[0],
            "request_id": request_id,
            "model": {"name": name, "version": served.version, "digest": served.digest},
        }
    )


def _refusal(refused: Refused) -> Answer:
    headers = ((b"www-authenticate", b"Bearer"),) if refused.status == 401 else ()
    return Answer(refused.status, msgspec.json.encode(refused.body()), headers=headers)


async def _send(send: Send, answer: Answer, with_body: bool) -> None:
    headers: Iterable[tuple[bytes, bytes]] = (
        (b"content-type", answer.kind),
        (b"content-length", str(len(answer.body)).encode()),
        *answer.headers,
    )
    await send({"type": "http.response.start", "status": answer.status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
