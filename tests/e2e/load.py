"""A steady load on a scoring service, of which each answer is kept and held against the model that it names."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

from benchmarks.paced import TIMEOUT_SECONDS, Answer, drive, request
from mlops.adapters.ledger import Ledger
from mlops.adapters.prediction_log import read_predictions
from mlops.adapters.store import Store
from mlops.scoring.model import load_model

Record = dict[str, Any]
CONNECTIONS = 16


@dataclass
class Sent:
    """A request of the load: when (Unix seconds), with which record, and what came back (no status: nothing yet)."""

    time: float
    request_id: str
    record: int
    seconds: float = 0.0
    status: int | None = None
    version: str = ""
    digest: str = ""
    predicted: str = ""
    probabilities: tuple[float, ...] = ()


class Load:
    """One client in a thread that asks for one of the records ``rate`` times a second, whatever comes back."""

    def __init__(self, url: str, key: str, records: list[Record], rate: float, pick: Callable[[], int]) -> None:
        self.key = key
        """May be changed at any time."""
        self.sent: list[Sent] = []
        self.records = records
        self.rate = rate
        self.url = f"{url}/score"
        self._pick = pick
        self._bodies = [msgspec.json.encode(record) for record in records]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        for answer in drive(self.url, self._moments(), self._build, CONNECTIONS):
            self._take(answer)

    def _moments(self) -> Iterator[float]:
        number = 0
        while not self._stop.is_set():
            yield number / self.rate
            number += 1

    def _build(self, _: int) -> bytes:
        sent = Sent(time.time(), uuid.uuid4().hex, self._pick())
        self.sent.append(sent)  # Its place is the number of the request.
        return request(self.url, self._bodies[sent.record], f"Bearer {self.key}", request_id=sent.request_id)

    def _take(self, answer: Answer) -> None:
        sent = self.sent[answer.number]
        sent.seconds = answer.seconds
        if answer.status == 200:
            told = msgspec.json.decode(answer.body)
            (sent.predicted,) = told["output"].values()
            sent.probabilities = tuple(told["probabilities"].values())
            sent.version, sent.digest = told["model"]["version"], told["model"]["digest"]
        sent.status = answer.status

    def answered(self, since: int = 0) -> list[Sent]:
        """The requests that were sent from one number on until now, once each has its answer or is given up."""
        asked = self.sent[since:]
        deadline = time.monotonic() + 2 * TIMEOUT_SECONDS
        while open_ := sum(each.status is None for each in asked):
            assert time.monotonic() < deadline, f"{open_} requests are neither answered nor given up"
            time.sleep(0.02)
        return asked


def check(sent: list[Sent], store: Store, model: str, records: list[Record]) -> None:
    """Assert that no request failed and each answer names an approved bundle, which makes that very answer."""
    statuses = {each.status for each in sent}
    assert statuses <= {200}, {status: sum(each.status == status for each in sent) for status in statuses}
    approved = {
        (entry.numbers["version"], entry.numbers["digest"]): entry.time.timestamp()
        for entry in reversed(Ledger(store, model).entries("approval"))
        if entry.decision == "approve"
    }
    models = {digest: load_model(store, model, digest) for digest in {each.digest for each in sent}}
    made: dict[tuple[str, int], tuple[str, tuple[float, ...]]] = {}
    for each in sent:
        # Which version answers is decided when the request has arrived, which may be long after it was sent.
        bundle = (each.version, each.digest)
        assert approved.get(bundle, inf) <= each.time + each.seconds + 0.1, f"nobody approved what answered {each}"
        if (each.digest, each.record) not in made:  # Not for all records: a bad model raises for some.
            asked = models[each.digest]
            label, probabilities = asked.predict_one(asked.reader.check(records[each.record], 1).rows[0])
            made[each.digest, each.record] = label, tuple(probabilities)
        assert (each.predicted, each.probabilities) == made[each.digest, each.record]


def check_log(sent: list[Sent], store: Store, model: str, seconds: float = 60.0) -> int:
    """Assert that the log soon holds each answer once, with the version that it named; return its shadow rows."""
    deadline = time.monotonic() + seconds
    wanted = {each.request_id: each.version for each in sent}
    while True:
        table = read_predictions(store, model, "prod").select(["_request_id", "_role", "_version"])
        rows = [row for row in table.to_pylist() if row["_request_id"] in wanted]
        logged = [row for row in rows if row["_role"] != "shadow"]
        if len(logged) >= len(wanted) or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert len(logged) == len(wanted), f"{len(logged)} of {len(wanted)} answers are logged"
    assert {row["_request_id"]: row["_version"] for row in logged} == wanted
    return len(rows) - len(logged)
