"""The challenger is compared with the champion and tried in the real scoring service."""

from prefect import flow

from flows.cli import run
from tasks.events import CHALLENGER_READY, emit
from tasks.validate import compare, record_decision, resolve_version, validate_infrastructure


@flow(name="validation", flow_run_name="validate {model}", log_prints=True)
def validation(model: str, version: str | None = None) -> bool:
    """Decide whether a version may replace the champion; say why in an artifact and the ledger.

    Args:
        model: the name of a spec in deployments/models.
        version: a registered version; the newest one unless given.
    """
    challenger = resolve_version(model, version)
    decision = compare(model, challenger)
    infrastructure = validate_infrastructure(model, challenger)
    accepted = record_decision(model, challenger, decision, infrastructure)
    if accepted:
        emit(CHALLENGER_READY, model, version=challenger.version, digest=challenger.digest)
    return accepted


if __name__ == "__main__":
    run(validation)
