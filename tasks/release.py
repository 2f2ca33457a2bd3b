"""Tasks of a release: serve in an environment, test, ask, and write down what was decided.

They keep their results, so a run that was suspended for its approval does not repeat them.
"""

from contextlib import suppress
from typing import Any

from prefect.artifacts import create_link_artifact, create_table_artifact

from mlops.adapters import bundles
from mlops.adapters.ledger import Entry, version_subject
from mlops.adapters.registry import CHALLENGER, CHAMPION, Version
from mlops.adapters.services import ReplacementFailed, Service
from mlops.adapters.services.keys import key_of
from mlops.adapters.serving import Found, NotServed, read_state, wait_until_served, write_state
from mlops.adapters.smoke import smoke_test
from mlops.adapters.store import Conflict
from mlops.core import smoke
from mlops.core.bundle import ServedModel
from mlops.core.serving import Environment, Served, state_key
from tasks.context import ModelContext, current_flow_run, open_model, pick_version
from tasks.network import Refused, network_task, service_task


@network_task("resolve challenger", resumable=True)
def resolve_challenger(model: str, version: str | None) -> Version:
    """Look up the version to release: the registry's challenger unless one is named."""
    context = open_model(model)
    missing = f"{model} has no challenger: the flow validation makes one, or name a version"
    found = pick_version(context, version, CHALLENGER, missing)
    if accepted_gate(context, found.digest) is None:
        raise Refused(f"version {found.version} of {model} has not passed validation; run the flow validation on it")
    return found


@network_task("state of {environment}", resumable=True)
def serving_state(model: str, environment: Environment) -> Found | None:
    """The serving state that this release starts from, and must still find when it writes."""
    return read_state(open_model(model).store, model, environment)


@service_task("serve in {environment}", resumable=True)
def serve(model: str, environment: Environment, version: Version, before: Found | None) -> int:
    """Let a version answer in an environment and wait until its service does; return the generation.

    Raises:
        Refused: another release changed the environment meanwhile (nothing is written), or the
            service cannot serve the version (the earlier state is put back), or its new image does not
            start (the service from before is put back).
    """
    context = open_model(model)
    run = current_flow_run()
    service = ensure_service(context, environment)
    current = read_state(context.store, model, environment)
    if current and current.state.release == run and current.state.champion.digest == version.digest:
        written = current  # An earlier try of this task wrote it and died before it could say so.
    else:
        try:
            served = Served(version.digest, version.version)
            mine = current is not None and current.state.release == run  # Its canary was the step before.
            written = write_state(context.store, model, environment, served, run, current if mine else before)
        except Conflict:
            raise overtaken(context, environment) from None
    try:
        wait_until_served(service.url, written.state.generation)
    except NotServed as error:
        try:
            with suppress(NotServed):  # It is put back, whether or not the service says so.
                restore(context, environment, before, written)
        except Conflict:
            raise overtaken(context, environment) from None
        raise Refused(f"{error}; {environment} is as it was") from None
    return written.state.generation


@service_task("put {environment} back")
def put_back(model: str, environment: Environment, before: Found | None) -> None:
    """Undo this release's change of an environment, unless another one has changed it since."""
    context = open_model(model)
    current = read_state(context.store, model, environment)
    if current and current.state.release == current_flow_run():
        with suppress(Conflict):  # Another run has changed it just now: there is nothing to undo.
            restore(context, environment, before, current)


@network_task("smoke test {environment}", timeout=120, resumable=True)
def smoke_test_service(model: str, environment: Environment, version: Version) -> list[smoke.Check]:
    """Ask the running service what its users will ask; publish the results as JUnit XML and a table.

    Raises:
        Refused: it failed because another run has changed the environment meanwhile.
    """
    context = open_model(model)
    checks = ask_service(context, environment, version.digest)
    service = context.services.describe(model, environment)
    report = f"{model}/reports/smoke/{environment}-{current_flow_run() or 'adhoc'}.xml"
    context.store.put(report, smoke.junit(f"{model}-{environment}", checks))
    create_table_artifact(
        key=f"{model}-smoke-{environment}",
        table=smoke.rows(checks),
        description=f"{model} version {version.version} in {environment} at {service.url}",
    )
    create_link_artifact(
        key=f"{model}-smoke-{environment}-junit",
        link=f"{context.settings.reports_uri}/{report}",
        link_text=f"JUnit XML of the {environment} smoke test",
    )
    current = read_state(context.store, model, environment)
    if not all(check.passed for check in checks) and (current and current.state.release) != current_flow_run():
        raise overtaken(context, environment)
    return checks


@network_task("write approval to the ledger", resumable=True)
def record_approval(
    model: str, version: Version, environment: Environment, decision: str, approver: str, comment: str
) -> None:
    """Write who decided what on which bundle for which environment."""
    open_model(model).ledger.record(
        "approval",
        f"{environment}-{version_subject(version.version, current_flow_run())}",
        decision,
        reasons=(comment,) if comment else (),
        numbers={"version": version.version, "digest": version.digest, "environment": environment},
        actor=approver,
        flow_run=current_flow_run(),
    )


@network_task("write release to the ledger", resumable=True)
def record_release(model: str, version: Version, decision: str, reasons: list[str], numbers: dict[str, Any]) -> None:
    """Write how the release ended: ``released``, ``rejected``, ``refused`` or ``rolled back``, and why."""
    open_model(model).ledger.record(
        "release",
        version_subject(version.version, current_flow_run()),
        decision,
        reasons=tuple(reasons),
        numbers={"version": version.version, "digest": version.digest, **numbers},
        flow_run=current_flow_run(),
    )


@network_task("name the champion")
def name_champion(model: str) -> None:
    """Let the registry's aliases say what the serving state says."""
    align_aliases(open_model(model))


@network_task("challenger now", resumable=True)
def note_challenger(model: str) -> Version | None:
    """The challenger at the time when the approval is asked for."""
    return open_model(model).registry.alias(model, CHALLENGER)


@network_task("is the approval still good")
def check_approval(model: str, version: Version, noted: Version | None, before: Found | None) -> None:
    """Make sure that nothing has changed while the approval was awaited.

    Raises:
        Refused: a newer challenger appeared, PROD changed, or the version's gates were revoked.
    """
    context = open_model(model)
    newer = context.registry.alias(model, CHALLENGER)
    if newer and newer != noted and int(newer.version) > int(version.version):
        raise Refused(f"version {newer.version} became the challenger while version {version.version} was waiting")
    current = read_state(context.store, model, "prod")
    mine = current is not None and current.state.release == current_flow_run()
    if not mine and (current and current.etag) != (before and before.etag):
        raise overtaken(context, "prod")
    if accepted_gate(context, version.digest) is None:
        raise Refused(f"the newest validation of version {version.version} no longer accepts it")


def accepted_gate(context: ModelContext, digest: str) -> Entry | None:
    """The newest decision of the gates on a bundle, if it let the bundle through."""
    gate = context.ledger.newest("gate", digest=digest)
    return gate if gate and gate.decision == "accepted" else None


def ensure_service(context: ModelContext, environment: Environment) -> Service:
    """The running service of an environment.

    Raises:
        Refused: its new image or settings do not start. The service from before is back; to try again would interrupt
            it again.
    """
    try:
        return context.services.ensure(context.spec.name, environment)
    except ReplacementFailed as error:
        raise Refused(str(error)) from error


def ask_service(context: ModelContext, environment: Environment, digest: str) -> list[smoke.Check]:
    """Smoke test the service of an environment, which must answer with one bundle."""
    model = context.spec.name
    key = key_of(context.settings, model, environment)
    described = bundles.decode(context.store, model, digest, "model.json", ServedModel)
    url = context.services.describe(model, environment).url
    return smoke_test(url, key, context.spec, described, digest)


def restore(context: ModelContext, environment: Environment, before: Found | None, written: Found) -> None:
    """Replace what a release wrote by the champion from before, and wait until it answers.

    Where nothing answered before, the service is removed: it would go on with what it has.

    Raises:
        Conflict: the environment was changed meanwhile.
        NotServed: the service does not follow; the state is put back all the same.
    """
    model = context.spec.name
    if before is None:
        context.store.delete(state_key(model, environment))
        context.services.remove(model, environment)
        return
    restored = write_state(context.store, model, environment, before.state.champion, before.state.release, written)
    wait_until_served(context.services.describe(model, environment).url, restored.state.generation)


def overtaken(context: ModelContext, environment: Environment) -> Refused:
    """Say who changed an environment under this release."""
    current = read_state(context.store, context.spec.name, environment)
    who = f"flow run {current.state.release or 'of unknown id'}" if current else "someone"
    what = f" (generation {current.state.generation}, version {current.state.champion.version})" if current else ""
    return Refused(f"{who} changed {environment}{what} since this release began; nothing was overwritten")


def align_aliases(context: ModelContext) -> None:
    """Let the alias champion name what PROD's serving state says; a challenger that became it is none any more."""
    model, registry = context.spec.name, context.registry
    found = read_state(context.store, model, "prod")
    serving = found and registry.find(model, found.state.champion.digest)
    if not serving:
        return
    if registry.alias(model, CHAMPION) != serving:
        registry.set_alias(model, CHAMPION, serving.version)
    if registry.alias(model, CHALLENGER) == serving:
        registry.set_alias(model, CHALLENGER, None)
