"""Tasks of a release: serve in an environment, test, ask, and write down what was decided.

They keep their results, so a run that was suspended for its approval does not repeat them.
"""

from typing import Any

import msgspec
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from mlops.adapters import bundles
from mlops.adapters.ledger import Entry
from mlops.adapters.registry import CHALLENGER, CHAMPION, Version
from mlops.adapters.scoring_client import read_key
from mlops.adapters.services import key_file
from mlops.adapters.serving import Found, NotServed, read_state, wait_until_served, write_state
from mlops.adapters.smoke import smoke_test
from mlops.adapters.store import Conflict
from mlops.core import smoke
from mlops.core.bundle import ServedModel
from mlops.core.evaluation import Metrics
from mlops.core.serving import Environment, Served, state_key
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import Refused, network_task


@network_task("resolve challenger", resumable=True)
def resolve_challenger(model: str, version: str | None) -> Version:
    """Look up the version to release: the registry's challenger unless one is named."""
    registry = open_model(model).registry
    found = registry.version(model, version) if version else registry.alias(model, CHALLENGER)
    if found is None:
        raise Refused(f"{model} has no challenger: the flow validation makes one, or name a version")
    gate = open_model(model).ledger.newest("gate", digest=found.digest)
    if gate is None or gate.decision != "accepted":
        raise Refused(f"version {found.version} of {model} has not passed validation; run the flow validation on it")
    return found


@network_task("state of {environment}", resumable=True)
def serving_state(model: str, environment: Environment) -> Found | None:
    """The serving state that this release starts from, and must still find when it writes."""
    return read_state(open_model(model).store, model, environment)


@network_task("serve in {environment}", timeout=180, resumable=True)
def serve(model: str, environment: Environment, version: Version, before: Found | None) -> int:
    """Let a version answer in an environment and wait until its service does; return the generation.

    Raises:
        Refused: another release changed the environment meanwhile (nothing is written), or the
            service cannot serve the version (the earlier state is put back).
    """
    context = open_model(model)
    run = current_flow_run()
    service = context.services.ensure(model, environment)
    current = read_state(context.store, model, environment)
    if current and current.state.release == run and current.state.champion.digest == version.digest:
        written = current  # An earlier try of this task wrote it and died before it could say so.
    else:
        try:
            served = Served(version.digest, version.version)
            written = write_state(context.store, model, environment, served, run, before)
        except Conflict as error:
            raise Refused(f"another release changed {environment} since this one began: {error}") from None
    try:
        wait_until_served(service.url, written.state.generation)
    except NotServed as error:
        _put_back(context, environment, before, written)
        raise Refused(f"{error}; {environment} is as it was") from None
    return written.state.generation


@network_task("put {environment} back")
def put_back(model: str, environment: Environment, before: Found | None) -> None:
    """Undo this release's change of an environment, unless another one has changed it since."""
    context = open_model(model)
    current = read_state(context.store, model, environment)
    if current and current.state.release == current_flow_run():
        _put_back(context, environment, before, current)


@network_task("smoke test {environment}", timeout=120, resumable=True)
def smoke_test_service(model: str, environment: Environment, version: Version) -> list[smoke.Check]:
    """Ask the running service what its users will ask; publish the results as JUnit XML and a table."""
    context = open_model(model)
    data = bundles.load(context.store, model, version.digest, "model.json")["model.json"]
    service = context.services.describe(model, environment)
    key = read_key(key_file(context.settings, model, environment))
    described = msgspec.json.decode(data, type=ServedModel)
    checks = smoke_test(service.url, key, context.spec, described, version.digest)
    report = f"{model}/reports/smoke/{environment}-{current_flow_run() or 'adhoc'}.xml"
    context.store.put(report, smoke.junit(f"{model}-{environment}", checks))
    create_table_artifact(
        key=f"{model}-smoke-{environment}",
        table=smoke.rows(checks),
        description=f"{model} version {version.version} in {environment} at {service.url}",
    )
    create_link_artifact(
        key=f"{model}-smoke-{environment}-junit",
        link=f"{context.settings.reports_url}/{report}",
        link_text=f"JUnit XML of the {environment} smoke test",
    )
    return checks


@network_task("gather evidence", resumable=True)
def gather_evidence(model: str, version: Version, before: Found | None, checks: list[smoke.Check]) -> str:
    """Write what an approver must know as markdown, also kept as an artifact."""
    context = open_model(model)
    champion = before.state.champion if before else None
    gate = context.ledger.newest("gate", digest=version.digest)
    text = "\n\n".join(
        [
            f"## Release {model} version {version.version} to PROD?",
            f"Bundle `{version.digest[:16]}…`, trained on snapshot `{version.snapshot[:16]}…`.",
            _comparison(context, version, champion),
            _gates(gate),
            _uat(checks),
            "Nothing in PROD changes unless this is approved.",
        ]
    )
    create_markdown_artifact(key=f"{model}-release-evidence", markdown=text)
    return text


@network_task("write approval to the ledger", resumable=True)
def record_approval(model: str, version: Version, decision: str, approver: str, comment: str) -> None:
    """Write who decided what on which bundle."""
    open_model(model).ledger.record(
        "approval",
        f"version-{version.version}-{current_flow_run()}",
        decision,
        reasons=(comment,) if comment else (),
        numbers={"version": version.version, "digest": version.digest},
        actor=approver,
        flow_run=current_flow_run(),
    )


@network_task("write release to the ledger", resumable=True)
def record_release(model: str, version: Version, decision: str, reasons: list[str], numbers: dict[str, Any]) -> None:
    """Write how the release ended: ``released``, ``rejected``, ``refused`` or ``rolled back``, and why."""
    open_model(model).ledger.record(
        "release",
        f"version-{version.version}-{current_flow_run()}",
        decision,
        reasons=tuple(reasons),
        numbers={"version": version.version, "digest": version.digest, **numbers},
        flow_run=current_flow_run(),
    )


@network_task("name the champion", resumable=True)
def name_champion(model: str, version: Version) -> None:
    """Let the registry's aliases say what the serving state says."""
    registry = open_model(model).registry
    registry.set_alias(model, CHAMPION, version.version)
    challenger = registry.alias(model, CHALLENGER)
    if challenger and challenger.version == version.version:
        registry.set_alias(model, CHALLENGER, None)


def _put_back(context: ModelContext, environment: Environment, before: Found | None, written: Found) -> None:
    model = context.spec.name
    if before is None:  # Nothing served here before: let nothing serve again.
        context.store.delete(state_key(model, environment))
        return
    restored = write_state(context.store, model, environment, before.state.champion, before.state.release, written)
    wait_until_served(context.services.describe(model, environment).url, restored.state.generation)


def _comparison(context: ModelContext, version: Version, champion: Served | None) -> str:
    def metrics(digest: str) -> Metrics:
        data = bundles.load(context.store, context.spec.name, digest, "metrics.json")["metrics.json"]
        return msgspec.json.decode(data, type=Metrics)

    columns = [(f"challenger {version.version}", metrics(version.digest))]
    if champion:
        columns.append((f"champion {champion.version}, on its own holdout", metrics(champion.digest)))
    lines = [f"| metric | {' | '.join(name for name, _ in columns)} |", "| --- |" + " --- |" * len(columns)]
    for metric in ("accuracy", "log_loss", "roc_auc", "rows"):
        values = (getattr(each, metric) for _, each in columns)
        shown = ("–" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".") for value in values)
        lines.append(f"| {metric.replace('_', ' ')} | {' | '.join(shown)} |")
    return "\n".join(lines) + ("" if champion else "\n\nThere is no champion in PROD yet.")


def _gates(gate: Entry | None) -> str:
    if gate is None:
        return "**Gates:** none recorded."
    return f"**Gates ({gate.decision}):**\n\n" + "\n".join(f"- {reason}" for reason in gate.reasons)


def _uat(checks: list[smoke.Check]) -> str:
    lines = "\n".join(f"| {each['check']} | {each['result']} | {each['detail']} |" for each in smoke.rows(checks))
    return f"**UAT smoke test:**\n\n| check | result | detail |\n| --- | --- | --- |\n{lines}"
