"""Brings together the requests that come at the same moment, so that each step is taken for all of them at once."""

import asyncio
from collections.abc import Callable, Sequence

from mlops.scoring.errors import Refused
from mlops.scoring.state import Choice, Generation


class Group:
    """Requests for the score of one record each, with the generation and the choice in common."""

    def __init__(self, generation: Generation, choice: Choice) -> None:
        self.generation = generation
        self.choice = choice
        self.request_ids: list[str] = []
        self.bodies: list[bytes] = []
        self.waiting: list[asyncio.Future[bytes]] = []


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
        loop = asyncio.get_running_loop()
        group = self._group
        if group is None or group.choice is not choice:  # Each generation has choices of its own.
            group = self._group = Group(generation, choice)
            loop.call_soon(self._answer_all, group)
        waiting: asyncio.Future[bytes] = loop.create_future()
        group.request_ids.append(request_id)
        group.bodies.append(body)
        group.waiting.append(waiting)
        return waiting

    def _answer_all(self, group: Group) -> None:
        if self._group is group:
            self._group = None
        try:
            answers = self._answer(group)
        except Exception as error:  # noqa: BLE001 - Nobody else would tell those who wait.
            for each in group.waiting:
                if not each.done():
                    each.set_exception(error)
            return
        for each, answer in zip(group.waiting, answers, strict=True):
            if each.done():
                continue  # Nobody waits any more.
            if isinstance(answer, Refused):
                each.set_exception(answer)
            else:
                each.set_result(answer)
