"""A challenger goes to UAT, is tested and approved, and then takes over PROD by shadow and canary."""

from typing import Any, Literal, NamedTuple

from msgspec import to_builtins
from prefect import flow, pause_flow_run, suspend_flow_run
from prefect.client.schemas.objects import State, StateType
from prefect.input import RunInput
from prefect.runtime import deployment
from prefect.states import Completed
from pydantic import Field

from flows.cli import run
from flows.mirror import mirror
from mlops.adapters.registry import Version
from mlops.adapters.serving import Found
from mlops.core.canary import StepVerdict
from mlops.core.serving import Environment
from mlops.core.smoke import Check, failures
from tasks.context import open_model
from tasks.events import MODEL_RELEASED, emit
from tasks.evidence import approval_policy, gather_evidence
from tasks.mend import mend
from tasks.network import Refused
from tasks.release import (
    check_approval,
    name_champion,
    note_challenger,
    put_back,
    record_approval,
    record_release,
    resolve_challenger,
    serve,
    serving_state,
    smoke_test_service,
)
from tasks.rollout import run_canary, run_shadow
from tasks.runs import sign_of_life


class Approval(RunInput):
    """The form of the approval gate."""

    decision: Literal["approve", "reject"] = Field(description="Let this version answer in the environment?")
    approver: str = Field(min_length=1, description="Your name, for the ledger.")
    comment: str = Field(default="", description="Why; required by nobody, read by everybody.")


class Start(NamedTuple):
    """What a release found when it began, and must still find when it writes."""

    challenger: Version
    noted: Version | None
    uat: Found | None
    prod: Found | None


class Ended(Exception):
    """A release ended without its version in PROD: the decision, its reasons and numbers."""

    def __init__(self, decision: str, reasons: list[str], numbers: dict[str, Any] | None = None) -> None:
        super().__init__(decision)
        self.decision, self.reasons, self.numbers = decision, reasons, numbers or {}


@flow(name="release", flow_run_name="release {model}", persist_result=True, log_prints=True)
def release(model: str, version: str | None = None) -> Any:
    """Release a validated version: UAT, smoke test, approval, PROD by shadow and canary, verified, champion.

    Args:
        model: the name of a spec in deployments/models.
        version: a validated version; the registry's challenger unless given.
    """
    with sign_of_life(model):
        return carry_out(model, version)


def carry_out(model: str, version: str | None) -> State[Any]:
    """Release a version step by step; return how it ended."""
    challenger = resolve_challenger(model, version)
    start: Start | None = None
    try:
        begin(model)
        start = Start(challenger, note_challenger(model), serving_state(model, "uat"), serving_state(model, "prod"))
        if start.prod and start.prod.state.champion.digest == challenger.digest:
            name_champion(model)
            return Completed(message=f"version {challenger.version} answers in PROD already")
        approver = approve_in_uat(model, start)
        steps = roll_out(model, start)
        generation = finish(model, start)
    except Refused as error:
        return _end(model, challenger, start, Ended("refused", [str(error)]))
    except Ended as ended:
        return _end(model, challenger, start, ended)
    except Exception:  # A bug or an outage: nobody would judge what PROD is trying, so it is not left there.
        if start:
            put_back(model, "prod", start.prod)
        raise
    numbers = {"generation": generation, "steps": to_builtins(steps)}
    record_release(model, challenger, "released", [f"approved by {approver}"], numbers)
    name_champion(model)
    emit(MODEL_RELEASED, model, version=challenger.version, digest=challenger.digest)
    show_in_workspace(model, challenger)
    return Completed(message=f"version {challenger.version} answers in PROD (generation {generation})")


def show_in_workspace(model: str, challenger: Version) -> None:
    """Mirror the version where a workspace is configured; the release stands, whatever becomes of its mirror."""
    if open_model(model).settings.azure_workspace:
        mirror(model, challenger.version, return_state=True)


def begin(model: str) -> None:
    """Mend what a dead release left; raise ``Ended`` when a living one holds PROD."""
    mended = mend(model)
    if mended.holder:
        raise Ended("refused", [mended.holder])
    if completed := mended.released:
        emit(MODEL_RELEASED, model, version=completed.version, digest=completed.digest)


def approve_in_uat(model: str, start: Start) -> str:
    """Serve and test in UAT, then ask whether it may go to PROD; return who approved."""
    approve(model, start, "uat", [])
    serve(model, "uat", start.challenger, start.uat)
    checks = smoke_test_service(model, "uat", start.challenger)
    if failed := failures(checks):
        raise Ended("refused", ["UAT smoke test failed", *failed])
    approver = approve(model, start, "prod", checks)
    check_approval(model, start.challenger, start.noted, start.prod)
    return approver


def roll_out(model: str, start: Start) -> list[StepVerdict]:
    """Shadow, then canary steps, each judged against the champion; a first release has nobody to be judged by."""
    if start.prod is None:
        return []
    policy, steps = open_model(model).spec.release, list[StepVerdict]()
    if policy.shadow.seconds:
        steps.append(_judged(run_shadow(model, start.challenger, start.prod), steps))
    for share in policy.canary.steps:
        steps.append(_judged(run_canary(model, start.challenger, start.prod, share), steps))
    return steps


def finish(model: str, start: Start) -> int:
    """Let the version answer everything in PROD and verify that it does; return the generation."""
    generation = serve(model, "prod", start.challenger, start.prod)
    if failed := failures(smoke_test_service(model, "prod", start.challenger)):
        raise Ended("rolled back", ["PROD verification failed", *failed])
    return generation


def approve(model: str, start: Start, environment: Environment, checks: list[Check]) -> str:
    """Ask a person in the Prefect UI, unless the policy lets passed gates decide; return who approved.

    A run of a deployment is suspended and frees its worker; any other one waits in its process.
    """
    challenger = start.challenger
    required, why = approval_policy(model, environment)
    if not required:
        if environment == "prod":
            record_approval(model, challenger, environment, "approve", "policy", why)
        return "policy"
    before = start.prod if environment == "prod" else start.uat
    form = Approval.with_initial_data(description=gather_evidence(model, challenger, environment, before, checks))
    ask = suspend_flow_run if deployment.id else pause_flow_run
    hours = open_model(model).spec.release.approval.hours
    key = f"approve-{environment}-{challenger.digest[:16]}"
    given = ask(wait_for_input=form, timeout=int(hours * 3600), key=key)
    record_approval(model, challenger, environment, given.decision, given.approver, given.comment)
    if given.decision == "reject":
        raise Ended("rejected", [f"by {given.approver}: {given.comment or 'no comment'}"])
    return str(given.approver)


def _judged(verdict: StepVerdict, earlier: list[StepVerdict]) -> StepVerdict:
    if verdict.decision == "roll_back":
        numbers: dict[str, Any] = {"steps": to_builtins([*earlier, verdict])}
        if (seconds := verdict.numbers.get("seconds_to_rollback")) is not None:
            numbers["seconds_to_rollback"] = seconds
        raise Ended("rolled back", list(verdict.reasons), numbers)
    return verdict


def _end(model: str, challenger: Version, start: Start | None, ended: Ended) -> State[Any]:
    """Put both environments back as far as this release changed them, and say why it ended."""
    if start:
        put_back(model, "prod", start.prod)
        put_back(model, "uat", start.uat)
    record_release(model, challenger, ended.decision, ended.reasons, ended.numbers)
    kind = StateType.CANCELLED if ended.decision == "rejected" else StateType.FAILED
    message = f"version {challenger.version} {ended.decision}: {'; '.join(ended.reasons)}"
    return State(type=kind, name=ended.decision.capitalize(), message=message)


if __name__ == "__main__":
    run(release)
