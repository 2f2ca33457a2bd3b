"""Scores requests with the shadow model, apart from their answers."""

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import msgspec

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.prediction_tables import Predictions
from mlops.core.serving import Served
from mlops.scoring.model import Model

logger = logging.getLogger(__name__)
MOST_WAITING = 5_000
"""Rows that wait for the shadow's answer at most, unless they are of one request."""


class Shadow:
    """One thread that scores and logs; when it falls behind, ``MOST_WAITING`` rows wait and the rest is skipped.

    A request of more rows than that is scored when nothing else waits.
    """

    def __init__(self, log: PredictionLog) -> None:
        self.skipped = 0
        """Requests without a shadow answer: no room, refused, or an error."""
        self._log = log
        self._waiting = 0
        self._results: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="shadow")

    @property
    def results(self) -> dict[tuple[str, str], int]:
        """Rows by version and result: ``agree``, ``disagree``, ``error`` or ``skipped``."""
        with self._lock:
            return dict(self._results)

    def submit(self, served: Served, model: Model, body: bytes, answered: Predictions) -> None:
        """Queue a request that was answered (as logged in ``answered``) for the shadow."""
        with self._lock:
            if room := self._waiting == 0 or self._waiting + len(answered) <= MOST_WAITING:
                self._waiting += len(answered)
            else:
                self.skipped += 1
                self._results[served.version, "skipped"] += len(answered)
        if room:
            self._executor.submit(self._score, served, model, body, answered)

    def close(self) -> None:
        """Score what waits, then stop."""
        self._executor.shutdown()

    def _score(self, served: Served, model: Model, body: bytes, answered: Predictions) -> None:
        results: Counter[str] = Counter()
        try:
            entry = _answer(served, model, body, answered)
            same = sum(map(str.__eq__, entry.predicted, answered.predicted))
            results.update(agree=same, disagree=len(answered) - same)
            self._log.add(entry)
        except Exception as error:  # noqa: BLE001 - Nobody waits for a shadow, and nothing it does may disturb the champion.
            results["error"] = len(answered)
            logger.warning(
                "shadow %s did not answer a request: %s: %s",
                served.version,
                type(error).__name__,
                error,
                extra={"request_id": answered.request_ids[0]},
            )
        with self._lock:
            self._waiting -= len(answered)
            self.skipped += bool(results["error"])
            for result, count in results.items():
                self._results[served.version, result] += count


def _answer(served: Served, model: Model, body: bytes, answered: Predictions) -> Predictions:
    rows = answered.rows if model.schema == answered.schema else model.reader.read(body, len(answered)).rows
    predicted, probabilities = model.predict(rows)
    return msgspec.structs.replace(
        answered,
        role="shadow",
        version=served.version,
        digest=served.digest,
        schema=model.schema,
        predicted=predicted,
        probabilities=probabilities,
        rows=rows,
    )
