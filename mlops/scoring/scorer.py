"""Scores requests: in time, without letting large ones block small ones, the champion standing in for a canary."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.prediction_tables import Predictions
from mlops.core.serving import Served
from mlops.scoring.config import Limits
from mlops.scoring.errors import Refused, TooSlow
from mlops.scoring.http import SMALL
from mlops.scoring.metrics import Metrics
from mlops.scoring.model import Model
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Generation
from mlops.scoring.validation import Row, check_batch, decode

logger = logging.getLogger(__name__)
Choice = tuple[str, Served, Model]
_encode = msgspec.json.Encoder().encode


class Scored(NamedTuple):
    """A model's answer: for the log, for the shadow and for the client."""

    entry: Predictions
    payload: object
    rows: Sequence[Row]
    body: bytes


class Attempt(NamedTuple):
    """What became of asking one model; without an answer, why."""

    choice: Choice
    status: int
    seconds: float
    scored: Scored | None
    refused: Refused | None


class Scorer:
    """Answers scoring requests; used by the event loop.

    Small requests to a quick model are scored at once, since a thread would cost more than they do.
    Nothing interrupts a model at work: a request that is scored in a thread is answered with 503 when
    its time is over, and the thread ends at the next slice of its batch.
    """

    def __init__(self, model: str, log: PredictionLog, shadow: Shadow, metrics: Metrics, limits: Limits) -> None:
        self._model = model
        self._log = log
        self._shadow = shadow
        self._metrics = metrics
        self._limits = limits
        # A canary that hangs must not hold the champion's threads.
        self._threads = {
            "champion": ThreadPoolExecutor(2, thread_name_prefix="score"),
            "canary": ThreadPoolExecutor(1, thread_name_prefix="score-canary"),
        }

    def close(self) -> None:
        """Begin nothing more."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    async def score(self, generation: Generation, request_id: str, body: bytes) -> bytes:
        """Answer a request with the JSON of its scores, and log it.

        Raises:
            Refused: 4xx for what is wrong with the request, 500 when the model failed, 503 when it took too long.
        """
        choice = generation.choose(request_id)
        limit = self._limits.seconds
        if choice[0] == "champion":
            attempt = await self._ask(generation, choice, request_id, body, limit)
        else:
            attempt = await self._ask_canary(generation, choice, request_id, body)
        self._count(attempt, attempt.status)
        if attempt.refused:
            raise attempt.refused
        assert attempt.scored  # noqa: S101 - An attempt is scored or refused.
        entry, payload, rows, answer = attempt.scored
        self._log.add(entry)
        # What answered as the canary would only agree with itself as the shadow.
        shadow = generation.state.shadow
        if generation.shadow and shadow and shadow.digest != entry.digest:
            self._shadow.submit(shadow, generation.shadow, payload, rows, entry)
        return answer

    async def _ask_canary(self, generation: Generation, choice: Choice, request_id: str, body: bytes) -> Attempt:
        """Ask the canary, and the champion when it does not answer: no request fails because of a canary."""
        half = self._limits.seconds / 2
        canary = await self._ask(generation, choice, request_id, body, half)
        if canary.scored:
            return canary
        champion = await self._ask(
            generation, ("champion", generation.state.champion, generation.champion), request_id, body, half
        )
        if champion.scored is None and canary.status < 500:
            return canary  # Both refuse: it is the request's own fault.
        if canary.status < 500:
            logger.warning(
                "canary %s refused what the champion answers: %s",
                choice[1].version,
                canary.refused,
                extra={"request_id": request_id},
            )
        self._count(canary, 500)
        return champion

    async def _ask(
        self, generation: Generation, choice: Choice, request_id: str, body: bytes, seconds: float
    ) -> Attempt:
        """Ask one model, and turn whatever goes wrong into a refusal with its reason."""
        started = time.perf_counter()
        scored = refused = None
        try:
            if len(body) <= SMALL and choice[2].quick:
                scored = self._score(generation, choice, request_id, body)
            else:
                scored = await self._in_thread(generation, choice, request_id, body, seconds)
        except Refused as error:
            refused = error
        except Exception as error:
            role, served, _ = choice
            logger.exception("%s %s failed on a request", role, served.version, extra={"request_id": request_id})
            reason = f"version {served.version} of {self._model} failed on this request ({type(error).__name__})"
            refused = Refused(500, f"{reason}; the service's log says more under its request id {request_id}")
        took = time.perf_counter() - started
        if len(body) <= SMALL:
            choice[2].took(took)
        return Attempt(choice, refused.status if refused else 200, took, scored, refused)

    async def _in_thread(
        self, generation: Generation, choice: Choice, request_id: str, body: bytes, seconds: float
    ) -> Scored:
        deadline = time.monotonic() + seconds
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(
            self._threads[choice[0]], self._score, generation, choice, request_id, body, deadline
        )
        try:
            return await asyncio.wait_for(work, seconds)
        except TimeoutError:
            raise TooSlow(seconds) from None

    def _score(
        self, generation: Generation, choice: Choice, request_id: str, body: bytes, deadline: float = float("inf")
    ) -> Scored:
        """Decode, check and score a request; changes nothing, so that a late answer leaves no trace."""
        role, served, model = choice
        payload = decode(body)
        batch = isinstance(payload, list)
        if isinstance(payload, list):
            check_batch(payload, self._limits.batch)
        rows = model.checker.rows(payload)
        predicted, probabilities = model.predict(rows, deadline)
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
        return Scored(entry, payload, rows, _answer(self._model, served, model, entry, request_id, batch))

    def _count(self, attempt: Attempt, status: int) -> None:
        role, served, _ = attempt.choice
        self._metrics.answered(role, served.version, status, attempt.seconds)


def _answer(name: str, served: Served, model: Model, entry: Predictions, request_id: str, batch: bool) -> bytes:
    key, classes = model.schema.output, model.classes
    output: list[dict[str, str]] = [{key: label} for label in entry.predicted]
    probabilities = [dict(zip(classes, row, strict=True)) for row in entry.probabilities]
    return _encode(
        {
            "output": output if batch else output[0],
            "probabilities": probabilities if batch else probabilities[0],
            "request_id": request_id,
            "model": {"name": name, "version": served.version, "digest": served.digest},
        }
    )
