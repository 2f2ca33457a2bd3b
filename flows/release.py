"""A challenger goes to UAT, is tested and approved, and then answers in PROD."""

from typing import Any, Literal

from prefect import flow, pause_flow_run, suspend_flow_run
from prefect.client.schemas.objects import State, StateType
from prefect.input import RunInput
from prefect.runtime import deployment
from prefect.states import Completed
from pydantic import Field

from flows.cli import run
from mlops.adapters.registry import Version
from tasks.context import open_model
from tasks.events import MODEL_RELEASED, emit
from tasks.release import (
    gather_evidence,
    name_champion,
    put_back,
    record_approval,
    record_release,
    resolve_challenger,
    serve,
    serving_state,
    smoke_test_service,
)


class Approval(RunInput):
    """The form of the approval gate."""

    decision: Literal["approve", "reject"] = Field(description="Let this version answer in PROD?")
    approver: str = Field(min_length=1, description="Your name, for the ledger.")
    comment: str = Field(default="", description="Why; required by nobody, read by everybody.")


@flow(name="release", flow_run_name="release {model}", persist_result=True, log_prints=True)
def release(model: str, version: str | None = None) -> Any:
    """Release a validated version: UAT, smoke test, approval, PROD, verified, champion.

    Args:
        model: the name of a spec in deployments/models.
        version: a validated version; the registry's challenger unless given.
    """
    challenger = resolve_challenger(model, version)
    uat, prod = serving_state(model, "uat"), serving_state(model, "prod")
    if prod and prod.state.champion.digest == challenger.digest:
        name_champion(model, challenger)
        return Completed(message=f"version {challenger.version} answers in PROD already")

    serve(model, "uat", challenger, uat)
    checks = smoke_test_service(model, "uat", challenger)
    if failed := [f"{check.name}: {check.detail}" for check in checks if not check.passed]:
        put_back(model, "uat", uat)
        return _ended(model, challenger, "refused", ["UAT smoke test failed", *failed])

    evidence = gather_evidence(model, challenger, prod, checks)
    approval = approve(model, challenger, evidence)
    record_approval(model, challenger, approval.decision, approval.approver, approval.comment)
    if approval.decision == "reject":
        put_back(model, "uat", uat)
        return _ended(model, challenger, "rejected", [f"by {approval.approver}: {approval.comment or 'no comment'}"])

    generation = serve(model, "prod", challenger, prod)
    checks = smoke_test_service(model, "prod", challenger)
    if failed := [f"{check.name}: {check.detail}" for check in checks if not check.passed]:
        put_back(model, "prod", prod)
        return _ended(model, challenger, "rolled back", ["PROD verification failed", *failed])

    name_champion(model, challenger)
    record_release(model, challenger, "released", [f"approved by {approval.approver}"], {"generation": generation})
    emit(MODEL_RELEASED, model, version=challenger.version, digest=challenger.digest)
    return Completed(message=f"version {challenger.version} answers in PROD (generation {generation})")


def approve(model: str, challenger: Version, evidence: str) -> Approval:
    """Ask a person in the Prefect UI, unless the spec's policy lets passed gates decide.

    A run of a deployment is suspended and frees its worker; any other one waits in its process.
    """
    policy = open_model(model).spec.release
    if policy.approval == "automatic":
        return Approval(decision="approve", approver="policy", comment="spec: approval automatic; all gates passed")
    ask = suspend_flow_run if deployment.id else pause_flow_run
    form = Approval.with_initial_data(description=evidence)
    return ask(wait_for_input=form, timeout=int(policy.approval_hours * 3600), key=f"approve-{challenger.digest[:16]}")


def _ended(model: str, challenger: Version, decision: str, reasons: list[str]) -> State[Any]:
    record_release(model, challenger, decision, reasons, {})
    kind = StateType.CANCELLED if decision == "rejected" else StateType.FAILED
    message = f"version {challenger.version} {decision}: {'; '.join(reasons)}"
    return State(type=kind, name=decision.capitalize(), message=message)


if __name__ == "__main__":
    run(release)
