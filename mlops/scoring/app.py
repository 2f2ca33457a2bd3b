"""The scoring service as an ASGI application: routing, keys, limits, and the answers' form.

Plain ASGI, since a framework's routing and request objects cost nearly half of the throughput.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.prediction_tables import Labels
from mlops.scoring.config import Limits
from mlops.scoring.errors import FieldError, Refused, unusable
from mlops.scoring.http import (
    SMALL,
    Answer,
    Disconnected,
    Receive,
    Request,
    Scope,
    Send,
    parse_request,
    read_body,
    refusal,
)
from mlops.scoring.keys import Keys
from mlops.scoring.metrics import Metrics
from mlops.scoring.openapi import describe
from mlops.scoring.scorer import Scorer
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Generation, Serving
from mlops.scoring.validation import REQUEST_ID, decode, labels

logger = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Answer]]


class ScoringApp:
    """Answers the requests of one scoring service."""

    def __init__(
        self,
        model: str,
        environment: str,
        serving: Serving,
        log: PredictionLog,
        shadow: Shadow,
        keys: Keys,
        limits: Limits | None = None,
    ) -> None:
        self._model = model
        self._environment = environment
        self._serving = serving
        self._log = log
        self._shadow = shadow
        self._keys = keys
        self._limits = limits or Limits()
        self._metrics = Metrics()
        self._scorer = Scorer(model, log, shadow, self._metrics, self._limits)
        self._in_flight = 0
        self._large_in_flight = 0
        self._routes: dict[str, tuple[str, Handler]] = {
            "/score": ("POST", self._score),
            "/feedback": ("POST", self._feedback),
            "/healthz": ("GET", self._healthz),
            "/startz": ("GET", self._startz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._render_metrics),
            "/openapi.json": ("GET", self._openapi),
        }

    def close(self) -> None:
        """Begin no more scoring."""
        self._scorer.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the interface of ASGI)."""
        started = time.perf_counter()
        path = scope["path"]
        try:
            answer = await self._answer(scope, path, receive)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - It is logged and answered.
            answer = self._failure(error, scope)
        headers = [(b"content-type", answer.kind), (b"content-length", b"%d" % len(answer.body)), *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
        if path in self._routes:
            self._metrics.observe(path, answer.status, time.perf_counter() - started)

    def at_once(self, scope: Scope, body: bytes, respond: Callable[[Answer], None]) -> bool:
        """Score a single record without a task of its own, which costs more than all that scoring does.

        Returns:
            Whether ``respond`` will be called. If not, nothing was done and the request is to be answered as any
            other: it is for something else, or is refused, or takes its time.
        """
        if scope["path"] != "/score" or scope["method"] != "POST" or len(body) > self._limits.body:
            return False
        generation, headers = self._serving.current, dict(scope["headers"])
        if generation is None or self._in_flight >= self._limits.requests:
            return False
        given = headers.get(b"x-request-id")
        if given is not None and not REQUEST_ID.fullmatch(given.decode("latin-1")):
            return False
        if not self._keys.allows(headers.get(b"authorization")):
            return False
        started = time.perf_counter()

        def done(found: bytes | Exception) -> None:
            self._in_flight -= 1
            answer = Answer(200, found) if isinstance(found, bytes) else self._failure(found, scope)
            respond(answer)
            self._metrics.observe("/score", answer.status, time.perf_counter() - started)

        if self._scorer.score_soon(generation, _request_id(headers), body, done):
            self._in_flight += 1
            return True
        return False

    def _failure(self, error: Exception, scope: Scope) -> Answer:
        """The answer to a request that was refused, or on which the service failed."""
        if isinstance(error, Refused):
            return refusal(error)
        logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
        return Answer(500, msgspec.json.encode({"error": "the service failed on this request; its log says why"}))

    async def _answer(self, scope: Scope, path: str, receive: Receive) -> Answer:
        method, handler = self._routes.get(path, ("", None))
        if handler is None:
            raise Refused(404, f"there is no such path; there are {', '.join(self._routes)}")
        if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            body = msgspec.json.encode({"error": f"use {method}"})
            return Answer(405, body, headers=((b"allow", b"POST" if method == "POST" else b"GET, HEAD"),))
        request = parse_request(scope, receive)
        if method == "GET":
            return await handler(request)
        if not self._keys.allows(request.headers.get(b"authorization")):
            raise Refused(401, "a valid key is needed: Authorization: Bearer KEY")
        if self._in_flight >= self._limits.requests:
            raise Refused(503, f"{self._limits.requests} requests are in flight already; try again")
        self._in_flight += 1
        try:
            if request.declared is None or request.declared > SMALL:
                return await self._answer_large(handler, request)
            return await handler(request)
        finally:
            self._in_flight -= 1

    async def _answer_large(self, handler: Handler, request: Request) -> Answer:
        if self._large_in_flight >= self._limits.large:
            raise Refused(503, f"{self._limits.large} large requests are in flight already; try again")
        self._large_in_flight += 1
        try:
            return await handler(request)
        finally:
            self._large_in_flight -= 1

    async def _score(self, request: Request) -> Answer:
        generation = self._ready()
        request_id = _request_id(request.headers)
        body = await read_body(request, self._limits)
        return Answer(200, await self._scorer.score(generation, request_id, body))

    async def _feedback(self, request: Request) -> Answer:
        classes = self._ready().champion.classes
        payload = decode(await read_body(request, self._limits))
        checked = labels(payload, classes, self._limits.batch)
        entry = Labels(
            request_ids=[each.request_id for each in checked],
            time=time.time_ns() // 1000,
            labels=[each.label for each in checked],
        )
        if not self._log.add(entry):
            raise Refused(503, "the log is full because the store does not take it; send the labels again later")
        return Answer(202, msgspec.json.encode({"accepted": len(checked)}))

    async def _healthz(self, _: Request) -> Answer:
        return self._lives(200, "ok")

    async def _startz(self, _: Request) -> Answer:
        return self._lives(200, "started") if self._serving.started else self._lives(503, "starting")

    def _lives(self, code: int, status: str) -> Answer:
        told = {"status": status, "model": self._model, "environment": self._environment, "pid": os.getpid()}
        return Answer(code, msgspec.json.encode(told))

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
            "source": self._serving.source,
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
                "log_spooled_bytes": self._log.spooled_bytes,
                "from_cache": self._serving.source == "cache",
                "requests_in_flight": self._in_flight,
            },
            counters={
                "log_dropped_rows_total": self._log.dropped,
                "shadow_skipped_requests_total": self._shadow.skipped,
            },
            shadow=self._shadow.results,
        )
        return Answer(200, body, b"text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, _: Request) -> Answer:
        current = self._ready()
        return Answer(200, msgspec.json.encode(describe(current.champion.about, current.state.champion, self._limits)))

    def _ready(self) -> Generation:
        if current := self._serving.current:
            return current
        problem = self._serving.problem
        raise Refused(503, f"no model serves yet: {problem.reason if problem else 'starting'}")


def _random_ids() -> Iterator[str]:
    """Ids of 128 random bits; the kernel is asked for many at once, which costs a fraction of asking for each."""
    while True:
        digits = os.urandom(16 * 256).hex()
        yield from (digits[start : start + 32] for start in range(0, len(digits), 32))


_new_ids = _random_ids()


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is None:
        return next(_new_ids)
    text = given.decode("latin-1")
    if not REQUEST_ID.fullmatch(text):
        raise unusable([FieldError("X-Request-ID", "must be 1 to 80 letters, digits, dots, dashes or underscores")])
    return text
