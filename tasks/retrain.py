"""Tasks of retraining: an alarm is answered once, and how is written to the ledger."""

from mlops.adapters.ledger import Entry
from tasks.context import current_flow_run, open_model
from tasks.network import Refused, network_task


@network_task("look the alarm up")
def open_alarm(model: str, alarm: str) -> Entry | None:
    """The verdict behind an alarm, or none when an earlier run has answered it.

    Raises:
        Refused: the ledger knows no such verdict, or it is not ``retrain``.
    """
    ledger = open_model(model).ledger
    verdict = ledger.find("verdict", alarm)
    if verdict is None or verdict.decision != "retrain":
        found = "no verdict" if verdict is None else f"the verdict {verdict.decision}"
        raise Refused(f"alarm {alarm!r}: the ledger of {model} holds {found} under this name, so nothing is retrained")
    return None if ledger.find("retraining", alarm) else verdict


@network_task("write retraining to the ledger")
def record_retraining(model: str, alarm: str, snapshot: str | None, version: str, accepted: bool) -> None:
    """Write what an alarm led to."""
    open_model(model).ledger.record(
        "retraining",
        alarm,
        "challenger ready" if accepted else "refused by validation",
        reasons=(f"alarm {alarm}",),
        numbers={"snapshot": snapshot, "version": version},
        flow_run=current_flow_run(),
    )
