"""Brings together the requests that come at the same moment, so that each step is taken for all of them at once."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from mlops.scoring.errors import Refused
from mlops.scoring.state import Choice, Generation

logger = logging.getLogger(__name__)
Done = Callable[[bytes | Exception], None]
"""Told a request's answer, or why it has none."""


class Group:
    """Requests for the score of one record each, with the generation and the choice in common."""

    def __init__(self, generation: Generation, choice: Choice) -> None:
        self.generation = generation
        self.choice = choice
        self.request_ids: list[str] = []
        self.bodies: list[bytes] = []
        self.waiting: list[Done] = []


class Together:
    """The requests that the event loop has read, until it comes to their answers; used by the event loop only.

    Nothing waits for company: requests are answered as soon as the loop has done what was ready before. Under load
    that is several, and what a step costs is mostly to come back to it: to the model's code above all, which takes
    little more for ten records than for one.
    """

    def __init__(self, answer: Callable[[Group], Sequence[bytes | Refused]]) -> None:
        """``answer`` answers each request of a group, in order."""
        self._answer = answer
        self._group: Group | None = None

    def ask(self, generation: Generation, choice: Choice, request_id: str, body: bytes) -> "asyncio.Future[bytes]":
        """The answer to a request, to be awaited; ``Refused``, when it has none, is of this request alone."""
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.add(generation, choice, request_id, body, partial(_settle, waiting))
        return waiting

    def add(self, generation: Generation, choice: Choice, request_id: str, body: bytes, done: Done) -> None:
        """Let ``done`` be told the answer to a request, as soon as the event loop has nothing else to read."""
        group = self._group
        if group is None or group.choice is not choice:  # Each generation has choices of its own.
            group = self._group = Group(generation, choice)
            asyncio.get_running_loop().call_soon(self._answer_all, group)
        group.request_ids.append(request_id)
        group.bodies.append(body)
        group.waiting.append(done)

    def _answer_all(self, group: Group) -> None:
        if self._group is group:
            self._group = None
        answers: Sequence[bytes | Exception]
        try:
            answers = self._answer(group)
        except Exception as error:  # noqa: BLE001 - Nobody else would tell those who wait.
            answers = [error] * len(group.waiting)
        for done, answer in zip(group.waiting, answers, strict=True):
            try:
                done(answer)
            except Exception:
                logger.exception("an answer could not be given")


def _settle(waiting: "asyncio.Future[bytes]", answer: bytes | Exception) -> None:
    if waiting.done():
        return  # Nobody waits any more.
    if isinstance(answer, Exception):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)
