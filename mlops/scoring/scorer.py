"""Scores requests: in time, without letting large ones block small ones, the champion standing in for a canary."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from mlops.adapters.arrow_arrays import Numbered
from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.prediction_tables import Predictions
from mlops.scoring.config import Limits
from mlops.scoring.errors import Refused, TooSlow
from mlops.scoring.http import SMALL
from mlops.scoring.metrics import Metrics
from mlops.scoring.onnx_model import Probabilities
from mlops.scoring.records import Rows
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Choice, Generation
from mlops.scoring.together import Done, Group, Together

logger = logging.getLogger(__name__)
MOST_AT_CANARY = 32
"""Requests that wait for a canary at once; the champion answers further ones, which count as its own."""


class Scored(NamedTuple):
    """A model's answer: for the log and for the client."""

    entry: Predictions
    answer: bytes


class Attempt(NamedTuple):
    """What became of asking one model; without an answer, why."""

    choice: Choice
    status: int
    seconds: float
    scored: Scored | None
    refused: Refused | None


class Scorer:
    """Answers scoring requests; used by the event loop.

    Small requests to a quick model are scored at once, since a thread would cost more than they do, and single records
    for the champion that have come at the same moment together.
    Nothing interrupts a model at work: a request that is scored in a thread is answered with 503 when
    its time is over, and the thread ends at the next slice of its batch.
    """

    def __init__(self, model: str, log: PredictionLog, shadow: Shadow, metrics: Metrics, limits: Limits) -> None:
        self._model = model
        self._log = log
        self._shadow = shadow
        self._metrics = metrics
        self._limits = limits
        self._together = Together(self._answer_together)
        self._at_canary = 0
        # A canary that hangs must not hold the champion's threads.
        self._threads = {
            "champion": ThreadPoolExecutor(2, thread_name_prefix="score"),
            "canary": ThreadPoolExecutor(1, thread_name_prefix="score-canary"),
        }

    def close(self) -> None:
        """Begin nothing more."""
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)

    def score(self, generation: Generation, request_id: str, body: bytes) -> Awaitable[bytes]:
        """Answer a request with the JSON of its scores, and log it.

        Raises:
            Refused: 4xx for what is wrong with the request, 500 when the model failed, 503 when it took too long.
        """
        choice = generation.choose(request_id)
        if _is_quick(choice, body):
            return self._together.ask(generation, choice, request_id, body)
        return self._score_alone(generation, choice, request_id, body)

    def score_soon(self, generation: Generation, request_id: str, body: bytes, done: Done) -> bool:
        """Let ``done`` be told the answer without anybody waiting for it.

        Returns:
            Whether it will be: with a canary, or a request that is not quickly answered, nothing is done.
        """
        # With a canary the id would choose, and a request without one would be given another when it is asked again.
        if generation.canary or not _is_quick(choice := generation.champion_choice, body):
            return False
        self._together.add(generation, choice, request_id, body, done)
        return True

    async def _score_alone(self, generation: Generation, choice: Choice, request_id: str, body: bytes) -> bytes:
        if choice.role == "canary":
            attempt = await self._ask_canary(generation, choice, request_id, body)
        elif len(body) <= SMALL and choice.model.quick:
            attempt = self._ask_at_once(generation, choice, request_id, body)
        else:
            attempt = await self._ask_in_thread(generation, choice, request_id, body, self._limits.seconds)
        self._count(attempt, attempt.status)
        if attempt.refused:
            raise attempt.refused
        assert attempt.scored  # noqa: S101 - An attempt is scored or refused.
        self._keep(generation, body, attempt.scored.entry)
        return attempt.scored.answer

    def _answer_together(self, group: Group) -> Sequence[bytes | Refused]:
        """Answer single records for the champion: in one go, or one by one when any of them has no answer."""
        generation, choice, ids = group.generation, group.choice, group.request_ids
        started, model = time.perf_counter(), choice.model
        try:
            rows = [model.reader.read_one(body) for body in group.bodies]
            labels, probabilities = model.predict_few(rows)
        except Exception:  # noqa: BLE001 - Whose fault it is shows when each is asked for alone.
            return [self._answer_alone(generation, choice, *each) for each in zip(ids, group.bodies, strict=True)]
        answers = list(map(choice.answers.one, labels, probabilities, ids))
        if generation.shadow:  # It scores and counts requests.
            for i, body in enumerate(group.bodies):
                alone = slice(i, i + 1)
                entry = _entry(generation, choice, ids[alone], rows[alone], labels[alone], probabilities[alone])
                self._keep(generation, body, entry)
        else:
            self._log.add(_entry(generation, choice, ids, rows, labels, probabilities))
        seconds = time.perf_counter() - started
        model.took(seconds / len(ids))
        self._metrics.answered(choice.role, choice.served.version, 200, seconds, len(ids))
        return answers

    def _answer_alone(self, generation: Generation, choice: Choice, request_id: str, body: bytes) -> bytes | Refused:
        attempt = self._ask_at_once(generation, choice, request_id, body)
        self._count(attempt, attempt.status)
        if attempt.refused:
            return attempt.refused
        assert attempt.scored  # noqa: S101 - Likewise.
        self._keep(generation, body, attempt.scored.entry)
        return attempt.scored.answer

    def _keep(self, generation: Generation, body: bytes, entry: Predictions) -> None:
        """Log an answered request, and let the shadow score it."""
        self._log.add(entry)
        # What answered as the canary would only agree with itself as the shadow.
        shadow = generation.state.shadow
        if generation.shadow and shadow and shadow.digest != entry.digest:
            self._shadow.submit(shadow, generation.shadow, body, entry)

    async def _ask_canary(self, generation: Generation, choice: Choice, request_id: str, body: bytes) -> Attempt:
        """Ask the canary, and the champion when it does not answer: no request fails because of a canary."""
        half = self._limits.seconds / 2
        if self._at_canary >= MOST_AT_CANARY:  # It hangs, or is slow: the champion's requests need the places.
            return await self._ask(generation, generation.champion_choice, request_id, body, half)
        self._at_canary += 1
        try:
            # Always in a thread: one that hangs would hold up everybody.
            canary = await self._ask_in_thread(generation, choice, request_id, body, half)
        finally:
            self._at_canary -= 1
        if canary.scored:
            return canary
        champion = await self._ask(generation, generation.champion_choice, request_id, body, half)
        if champion.scored is None and canary.status < 500:
            return canary  # Both refuse: it is the request's own fault.
        if canary.status < 500:
            logger.warning(
                "canary %s refused what the champion answers: %s",
                choice.served.version,
                canary.refused,
                extra={"request_id": request_id},
            )
        self._count(canary, 500)
        return champion

    async def _ask(
        self, generation: Generation, choice: Choice, request_id: str, body: bytes, seconds: float
    ) -> Attempt:
        if len(body) <= SMALL and choice.model.quick:
            return self._ask_at_once(generation, choice, request_id, body)
        return await self._ask_in_thread(generation, choice, request_id, body, seconds)

    def _ask_at_once(self, generation: Generation, choice: Choice, request_id: str, body: bytes) -> Attempt:
        """Ask one model while others wait, and turn whatever goes wrong into a refusal with its reason."""
        started = time.perf_counter()
        scored = refused = None
        try:
            scored = self._score(generation, choice, request_id, body)
        except Exception as error:  # noqa: BLE001 - What a model raises is its own; it is logged and answered.
            refused = self._refusal(choice, request_id, error)
        took = time.perf_counter() - started
        choice.model.took(took)
        return Attempt(choice, refused.status if refused else 200, took, scored, refused)

    async def _ask_in_thread(
        self, generation: Generation, choice: Choice, request_id: str, body: bytes, seconds: float
    ) -> Attempt:
        """Ask one model in a thread, likewise."""
        started, deadline = time.perf_counter(), time.monotonic() + seconds
        scored: Scored | None = None
        refused: Refused | None = None
        threads, loop = self._threads[choice.role], asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(threads, self._score, generation, choice, request_id, body, deadline)
            scored = await asyncio.wait_for(work, seconds)
        except TimeoutError:
            refused = TooSlow(seconds)
        except Exception as error:  # noqa: BLE001
            refused = self._refusal(choice, request_id, error)
        took = time.perf_counter() - started
        if len(body) <= SMALL:
            choice.model.took(took)
        return Attempt(choice, refused.status if refused else 200, took, scored, refused)

    def _refusal(self, choice: Choice, request_id: str, error: Exception) -> Refused:
        if isinstance(error, Refused):
            return error
        version = choice.served.version
        logger.error(
            "%s %s failed on a request", choice.role, version, exc_info=error, extra={"request_id": request_id}
        )
        reason = f"version {version} of {self._model} failed on this request ({type(error).__name__})"
        return Refused(500, f"{reason}; the service's log says more under its request id {request_id}")

    def _score(
        self, generation: Generation, choice: Choice, request_id: str, body: bytes, deadline: float = math.inf
    ) -> Scored:
        """Decode, check and score a request; changes nothing, so that a late answer leaves no trace."""
        rows, batch = choice.model.reader.read(body, self._limits.batch)
        if batch:
            labels, found = choice.model.predict(rows, deadline)
            ids, answer = Numbered(request_id, len(rows)), choice.answers.many(labels, found, request_id)
            return Scored(_entry(generation, choice, ids, rows, labels, found), answer)
        label, probabilities = choice.model.predict_one(rows[0])
        entry = _entry(generation, choice, (request_id,), rows, (label,), (probabilities,))
        return Scored(entry, choice.answers.one(label, probabilities, request_id))

    def _count(self, attempt: Attempt, status: int) -> None:
        self._metrics.answered(attempt.choice.role, attempt.choice.served.version, status, attempt.seconds)


def _is_quick(choice: Choice, body: bytes) -> bool:
    """Whether a request is for one record of a quick champion."""
    return choice.role == "champion" and choice.model.quick and len(body) <= SMALL and body.startswith(b"{")


def _entry(
    generation: Generation,
    choice: Choice,
    request_ids: Sequence[str],
    rows: Rows,
    predicted: Sequence[str],
    probabilities: Sequence[list[float]] | Probabilities,
) -> Predictions:
    return Predictions(
        choice.model.schema,
        request_ids,
        time.time_ns() // 1000,
        generation.state.generation,
        choice.served.version,
        choice.served.digest,
        choice.role,
        predicted,
        probabilities,
        rows,
    )
