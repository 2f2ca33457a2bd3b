"""What a run left that died is mended, and what the ledger asks for is told again: an event can be lost."""

from prefect import flow

from flows.cli import run
from tasks.events import CHALLENGER_READY, DRIFT_DETECTED, MODEL_RELEASED, RETRAINING_DUE, emit
from tasks.mend import mend
from tasks.watchdog import unanswered_alarms, waiting_challengers


@flow(name="watchdog", flow_run_name="watch {model}", log_prints=True)
def watchdog(model: str, patience_minutes: float = 10.0) -> list[str]:
    """Emit the event of each unanswered alarm and challenger again, and mend a dead release; return what was told.

    A canary whose release died has nobody who judges it, and an approval that expired no run that tells the ledger.
    Telling too often does no harm: a run that finds its alarm answered, or being answered, ends at once.

    Args:
        model: the name of a spec in deployments/models.
        patience_minutes: how old a decision must be before its event counts as lost.
    """
    told = []
    for alarm in unanswered_alarms(model, patience_minutes):
        event = DRIFT_DETECTED if alarm.detected else RETRAINING_DUE
        emit(event, model, alarm=alarm.alarm, window=alarm.window, version=alarm.version)
        told.append(alarm.window)
    for challenger in waiting_challengers(model, patience_minutes):
        emit(CHALLENGER_READY, model, version=challenger.version, digest=challenger.digest)
        told.append(f"version {challenger.version}")
    if completed := mend(model).released:
        emit(MODEL_RELEASED, model, version=completed.version, digest=completed.digest)
        told.append(f"release of version {completed.version}")
    return told


if __name__ == "__main__":
    run(watchdog)
