"""Windows of production get a verdict, a report and, when it is retrain, an event."""

from datetime import datetime

from prefect import flow

from flows.cli import run
from tasks.drift import closed_windows, judge_window, publish_verdict, report_window
from tasks.events import DRIFT_DETECTED, emit


@flow(name="drift_check", flow_run_name="check {model}", log_prints=True)
def drift_check(model: str, until: datetime | None = None) -> dict[str, str]:
    """Judge every closed window that has no verdict yet, in order; return the verdicts by window.

    Args:
        model: the name of a spec in deployments/models.
        until: judge windows that ended by this moment (ISO 8601 with offset); now unless given.
    """
    given: dict[str, str] = {}
    for window in closed_windows(model, until):
        verdict = judge_window(model, window)
        publish_verdict(model, window, verdict)
        if verdict.verdict == "retrain":
            emit(DRIFT_DETECTED, model, alarm=window.name, version=verdict.version)
        report_window(model, window, verdict)
        given[window.name] = verdict.verdict
    return given


if __name__ == "__main__":
    run(drift_check)
