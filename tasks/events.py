"""The events that flows end with; automations listen to them."""

from typing import Any

from prefect.events import emit_event

SNAPSHOT_CREATED = "mlops.snapshot.created"
MODEL_REGISTERED = "mlops.model.registered"
CHALLENGER_READY = "mlops.challenger.ready"
DRIFT_DETECTED = "mlops.drift.detected"
"""The verdict is ``retrain``."""
RETRAINING_DUE = "mlops.retraining.due"
"""No new alarm, but an earlier one is followed up, or a fresh model is tried."""
MODEL_RELEASED = "mlops.model.released"
MODEL_ROLLED_BACK = "mlops.model.rolled_back"


def emit(event: str, model: str, **payload: Any) -> None:
    """Emit an event about a model; what it says is already in the ledger, since events can be lost.

    A ``window`` in the payload is a label too, by which an automation knows events that ask for the same.
    """
    resource = {"prefect.resource.id": f"mlops.model.{model}", "prefect.resource.name": model}
    if window := payload.get("window"):
        resource["mlops.window"] = window
    emit_event(event, resource=resource, payload={"model": model, **payload})
