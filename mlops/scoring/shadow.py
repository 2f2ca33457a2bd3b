"""Scores requests with the shadow model, apart from their answers."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.prediction_tables import Predictions
from mlops.core.serving import Served
from mlops.scoring.model import Model
from mlops.scoring.validation import Row

logger = logging.getLogger(__name__)


class Shadow:
    """One thread that scores and logs; of the requests it falls behind with, ``limit`` wait and the rest is skipped."""

    def __init__(self, log: PredictionLog, limit: int = 200) -> None:
        self.skipped = 0
        """Requests without a shadow answer: no room, refused, or an error."""
        self._log = log
        self._room = threading.Semaphore(limit)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="shadow")

    def submit(self, served: Served, model: Model, payload: object, rows: Sequence[Row], answered: Predictions) -> None:
        """Queue a request that was answered (as logged in ``answered``) for the shadow."""
        if self._room.acquire(blocking=False):
            self._executor.submit(self._score, served, model, payload, rows, answered)
        else:
            self.skipped += 1

    def close(self) -> None:
        """Score what waits, then stop."""
        self._executor.shutdown()

    def _score(self, served: Served, model: Model, payload: object, rows: Sequence[Row], answered: Predictions) -> None:
        try:
            if model.schema != answered.schema:
                rows = model.checker.rows(payload)
            predicted, probabilities = model.predict(rows)
            entry = msgspec.structs.replace(
                answered,
                role="shadow",
                version=served.version,
                digest=served.digest,
                schema=model.schema,
                predicted=predicted,
                probabilities=probabilities,
                rows=rows,
            )
            self._log.add(entry)
        except Exception as error:  # noqa: BLE001 - Nobody waits for a shadow, and nothing it does may disturb the champion.
            self.skipped += 1
            logger.warning("shadow %s did not answer a request: %s: %s", served.version, type(error).__name__, error)
        finally:
            self._room.release()
