"""A caller of PROD that asks steadily, and what it came to."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

PERIOD_SECONDS = 0.1
PATIENCE_SECONDS = 3.0


@dataclass
class Asked:
    """The answers so far: when each was asked for (monotonic seconds), and what was wrong with it (empty: nothing)."""

    answers: list[tuple[float, str]] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """What was wrong with the answers that were."""
        return [wrong for _, wrong in self.answers if wrong]

    @property
    def away(self) -> float:
        """The longest time, in seconds, between the last good answer before a failed one and the next good one."""
        longest, last, failing = 0.0, self.answers[0][0] if self.answers else 0.0, False
        for moment, wrong in self.answers:
            if wrong:
                failing = True
                longest = max(longest, moment - last)
                continue
            if failing:
                longest, failing = max(longest, moment - last), False
            last = moment
        return longest

    def cut(self) -> "Asked":
        """The answers so far by themselves; those to come begin anew."""
        count = len(self.answers)  # Others are added meanwhile.
        first = Asked(self.answers[:count])
        del self.answers[:count]
        return first


@contextmanager
def asking(environment: dict[str, str], url: str, key: str, record: dict[str, Any]) -> Iterator[Asked]:
    """Ask a service for a record's class ten times a second, each time after the answer before.

    Args:
        environment: has the proxy and the certificates by which Azure's names are reached.
        url: the service.
        key: its key.
        record: the record.
    """
    asked, stop = Asked(), threading.Event()
    thread = threading.Thread(target=_ask, args=(environment, url, key, record, asked, stop), name="asking")
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join(2 * PATIENCE_SECONDS + 1)
        assert not thread.is_alive()


def _ask(
    environment: dict[str, str], url: str, key: str, record: dict[str, Any], asked: Asked, stop: threading.Event
) -> None:
    context = ssl.create_default_context(cafile=environment["SSL_CERT_FILE"])
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(
        base_url=url, proxy=environment["HTTPS_PROXY"], verify=context, trust_env=False, timeout=PATIENCE_SECONDS,
        headers=headers,
    ) as client:  # fmt: skip
        while not stop.is_set():
            began = time.monotonic()
            asked.answers.append((began, _wrong(client, record)))
            stop.wait(max(0.0, PERIOD_SECONDS - (time.monotonic() - began)))


def _wrong(client: httpx.Client, record: dict[str, Any]) -> str:
    try:
        answer = client.post("/score", json=record)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text[:100]}"
        told = answer.json()
        return "" if told["output"] and told["model"]["version"] else f"no answer: {told}"
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return type(error).__name__
