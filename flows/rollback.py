"""An earlier released version answers again, at once and without a rebuild."""

import time
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.cli import run
from mlops.core.serving import Environment
from tasks.events import MODEL_RELEASED, MODEL_ROLLED_BACK, emit
from tasks.mend import mend
from tasks.release import name_champion
from tasks.rollback import find_target, go_back, record_rollback
from tasks.runs import sign_of_life


@flow(name="rollback", flow_run_name="roll back {model}", persist_result=True, log_prints=True)
def rollback(model: str, reason: str, by: str, version: str | None = None, environment: Environment = "prod") -> Any:
    """Go back to an earlier released version of a model.

    Args:
        model: the name of a spec in deployments/models.
        reason: why, for the ledger.
        by: your name, for the ledger.
        version: any version that was released; the one before the present champion unless given.
        environment: prod or uat.
    """
    with sign_of_life(model):
        return carry_out(model, reason, by, version, environment)


def carry_out(model: str, reason: str, by: str, version: str | None, environment: Environment) -> State[Any]:
    """Go back step by step; return how it ended."""
    started = time.time()
    # A living release does not stop a rollback; it finds PROD changed and ends. Nor does a registry that is away.
    if completed := mend(model, aliases=False).released:
        emit(MODEL_RELEASED, model, version=completed.version, digest=completed.digest)
    target = find_target(model, environment, version)
    left, found = target.before.state, target.version
    if left.champion == found and not (left.canary or left.shadow):
        return Completed(message=f"version {found.version} answers in {environment.upper()} already")
    generation = go_back(model, environment, target)
    seconds = round(time.time() - started, 1)
    record_rollback(model, environment, target, reason, by, {"generation": generation, "seconds": seconds})
    emit(MODEL_ROLLED_BACK, model, version=found.version, digest=found.digest, environment=environment, by=by)
    told = f"version {found.version} answers in {environment.upper()} (generation {generation})"
    named = name_champion(model, return_state=True)
    if not named.is_completed():  # The watchdog lets them follow.
        return Completed(message=f"{told}; the registry's aliases are still to follow: {named.message}")
    return Completed(message=told)


if __name__ == "__main__":
    run(rollback)
