"""What callers of PROD send: records, and later their labels; and the wait until the log holds both."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.demo import runs
from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.adapters.scoring_client import ScoringClient
from mlops.adapters.services.keys import key_of
from tasks.context import ModelContext

Batch = tuple[list[dict[str, Any]], Sequence[str]]
"""Records and their labels; an empty label has not come."""


def send(context: ModelContext, name: str, batches: Iterable[Batch]) -> None:
    """Post records in batches, then the labels, and wait for the log.

    Request ids follow from the name, so what is sent twice counts once.
    """
    model = context.spec.name
    sent: set[str] = set()
    labels: list[dict[str, str]] = []
    with ScoringClient(context.services.describe(model, "prod").url, key_of(context.settings, model, "prod")) as client:
        for number, (records, told) in enumerate(batches):
            request_id = f"{name}-{number:03}"
            client.score(records, request_id).raise_for_status()
            ids = [f"{request_id}.{row}" for row in range(len(records))]
            sent.update(ids)
            labels += [{"request_id": i, "label": label} for i, label in zip(ids, told, strict=True) if label]
        client.feedback(labels).raise_for_status()
    labelled = {label["request_id"] for label in labels}
    today = (datetime.now(UTC) - timedelta(days=1)).date()

    def logged() -> bool | None:
        scored = set(read_predictions(context.store, model, "prod", today)["_request_id"].to_pylist())
        given = set(read_feedback(context.store, model, today)["_request_id"].to_pylist())
        return (sent <= scored and labelled <= given) or None

    runs.wait_for(f"the predictions of {name} in the log", logged, timeout=60)
