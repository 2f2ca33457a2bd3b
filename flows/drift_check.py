"""Windows of production get a verdict, a report and, when it is retrain, an event; alarms are followed up."""

from datetime import datetime

from prefect import flow

from flows.cli import run
from tasks.drift import closed_windows, judge_window, publish_verdict, publish_windows
from tasks.events import DRIFT_DETECTED, RETRAINING_DUE, emit
from tasks.follow_up import due_follow_up, measure_outcomes
from tasks.refresh import due_refresh
from tasks.reports import report_window, unreported_windows


@flow(name="drift_check", flow_run_name="check {model}", log_prints=True)
def drift_check(model: str, until: datetime | None = None) -> dict[str, str]:
    """Judge every closed window that has no standing verdict, in order; return the verdicts by window.

    Args:
        model: the name of a spec in deployments/models.
        until: judge windows that ended by this moment (ISO 8601 with offset); now unless given.
    """
    given: dict[str, str] = {}
    waiting = False
    for window in closed_windows(model, until):
        verdict, stands = judge_window(model, window, until, waiting)
        publish_verdict(model, window, verdict, stands)
        if stands and verdict.verdict == "retrain":
            emit(DRIFT_DETECTED, model, alarm=window.name, window=window.name, version=verdict.version)
        waiting = waiting or not stands
        given[window.name] = verdict.verdict
    if due := due_follow_up(model) or due_refresh(model):
        emit(RETRAINING_DUE, model, alarm=due.alarm, window=due.window, version=due.version)
    measure_outcomes(model)
    publish_windows(model)
    for name in unreported_windows(model):
        report_window(model, name)
    return given


if __name__ == "__main__":
    run(drift_check)
