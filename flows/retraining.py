"""An alarm leads to fresh data, a new version and its validation; started by the automation alone."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.cli import run
from flows.ingestion import ingestion
from flows.training import training
from flows.validation import validation
from tasks.retrain import open_alarm, record_retraining


@flow(name="retraining", flow_run_name="retrain {model}", log_prints=True)
def retraining(model: str, alarm: str) -> Any:
    """Answer an alarm: ingestion, training and validation; a release follows by its own automation.

    Args:
        model: the name of a spec in deployments/models.
        alarm: the window whose verdict was retrain, as the ledger names it.
    """
    if open_alarm(model, alarm) is None:
        return Completed(message=f"alarm {alarm} was answered by an earlier run")
    snapshot = ingestion(model)
    version = training(model, snapshot)
    accepted = validation(model, version)
    record_retraining(model, alarm, snapshot, version, accepted)
    outcome = "is ready for release" if accepted else "was refused by validation"
    return Completed(message=f"alarm {alarm}: version {version} {outcome}")


if __name__ == "__main__":
    run(retraining)
