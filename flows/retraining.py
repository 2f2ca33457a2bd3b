"""An alarm leads to fresh data, a new version and its validation; started by the automation alone."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.cli import run
from flows.ingestion import ingestion
from flows.training import training
from flows.validation import validation
from tasks.retrain import claim_alarm, record_retraining, version_digest


@flow(name="retraining", flow_run_name="retrain {model}", log_prints=True)
def retraining(model: str, alarm: str, window: str | None = None) -> Any:
    """Answer an alarm: ingestion, training and validation; a release follows by its own automation.

    Args:
        model: the name of a spec in deployments/models.
        alarm: the window whose verdict was retrain, as the ledger names it.
        window: a later window at which the alarm is followed up; the alarm's own unless given.
    """
    window = window or alarm
    claim = claim_alarm(model, alarm, window)
    if not claim.ours:
        return Completed(message=f"{window} {claim.why}")
    snapshot = ingestion(model)
    version = training(model, snapshot, alarm)
    accepted = validation(model, version)
    record_retraining(model, alarm, window, snapshot, version, version_digest(model, version), accepted)
    outcome = "is ready for release" if accepted else "was refused by validation"
    return Completed(message=f"alarm {alarm}, window {window}: version {version} {outcome}")


if __name__ == "__main__":
    run(retraining)
