"""Tasks of an approval: the evidence that a person needs, and whether one is needed."""

from datetime import UTC, datetime, timedelta

from prefect.artifacts import create_markdown_artifact

from mlops.adapters import bundles
from mlops.adapters.ledger import Entry
from mlops.adapters.registry import Version
from mlops.adapters.serving import Found
from mlops.core import smoke
from mlops.core.evaluation import Metrics
from mlops.core.serving import Environment, Served
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import network_task


@network_task("approval policy of {environment}", resumable=True)
def approval_policy(model: str, environment: Environment) -> tuple[bool, str]:
    """Whether a person must approve, and why: the spec asks for it, or the newest verdict is a data incident."""
    context = open_model(model)
    if getattr(context.spec.release.approval, environment) == "required":
        return True, "the spec requires it"
    newest = context.ledger.newest("verdict")
    if newest and newest.decision == "data_incident":
        return True, f"the newest verdict, on {newest.subject}, is a data incident"
    return False, "spec: approval automatic; all gates passed"


@network_task("gather evidence", resumable=True)
def gather_evidence(
    model: str, version: Version, environment: Environment, before: Found | None, checks: list[smoke.Check]
) -> str:
    """Write what an approver must know as markdown, also kept as an artifact."""
    context = open_model(model)
    champion = before.state.champion if before else None
    gate = context.ledger.newest("gate", digest=version.digest)
    asked, hours = datetime.now(UTC), context.spec.release.approval.hours
    text = "\n\n".join(
        [
            f"## Release {model} version {version.version} to {environment.upper()}?",
            f"Bundle `{version.digest[:16]}…`, trained on snapshot `{version.snapshot[:16]}…`.",
            _comparison(context, version, champion),
            _approved(context, champion),
            _origin(context, version),
            _gates(gate),
            _uat(checks),
            f"Asked on {_shown(asked)} by flow run `{current_flow_run()}`. Nothing in {environment.upper()} changes"
            f" unless this is approved within {hours:g} hours, by {_shown(asked + timedelta(hours=hours))}.",
        ]
    )
    create_markdown_artifact(key=f"{model}-release-evidence", markdown=text)
    return text


def _comparison(context: ModelContext, version: Version, champion: Served | None) -> str:
    def metrics(digest: str) -> Metrics:
        return bundles.decode(context.store, context.spec.name, digest, "metrics.json", Metrics)

    columns = [(f"challenger {version.version}", metrics(version.digest))]
    if champion:
        columns.append((f"champion {champion.version}, on its own holdout", metrics(champion.digest)))
    lines = [f"| metric | {' | '.join(name for name, _ in columns)} |", "| --- |" + " --- |" * len(columns)]
    for metric in ("accuracy", "log_loss", "roc_auc", "rows"):
        values = (getattr(each, metric) for _, each in columns)
        shown = ("–" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".") for value in values)
        lines.append(f"| {metric.replace('_', ' ')} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _approved(context: ModelContext, champion: Served | None) -> str:
    """Who let the champion in, and when."""
    if champion is None:
        return "**Champion:** none yet."
    wanted = {"digest": champion.digest, "environment": "prod"}.items()
    given = context.ledger.decided("approval", "approve")
    entry = next((each for each in reversed(given) if wanted <= each.numbers.items()), None)
    return f"**Champion:** version {champion.version}" + (
        f", approved by {entry.actor} on {_shown(entry.time)}."
        if entry
        else ", of whose approval the ledger holds nothing."
    )


def _origin(context: ModelContext, version: Version) -> str:
    """What led to this version: the verdict behind a retraining, or a person."""
    answer = context.ledger.newest("retraining", version=version.version)
    verdict = context.ledger.find("verdict", answer.numbers.get("alarm", answer.subject)) if answer else None
    if answer is None or verdict is None:
        return "**Origin:** no alarm; the training was started by hand or by a schedule."
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    if context.ledger.find("refresh", answer.numbers.get("alarm", answer.subject)):
        return f"**Origin:** a refresh after {verdict.subject}: nothing alarmed, and a fresh model was tried."
    again = "" if answer.subject == verdict.subject else f", followed up after {answer.subject}"
    return f"**Origin:** retrained after the verdict {verdict.decision} on {verdict.subject}{again}:\n\n{reasons}"


def _gates(gate: Entry | None) -> str:
    if gate is None:
        return "**Gates:** none recorded."
    return f"**Gates ({gate.decision}, {_shown(gate.time)}):**\n\n" + "\n".join(
        f"- {reason}" for reason in gate.reasons
    )


def _uat(checks: list[smoke.Check]) -> str:
    if not checks:
        return "**UAT smoke test:** not yet; this version is not in UAT."
    lines = "\n".join(f"| {each['check']} | {each['result']} | {each['detail']} |" for each in smoke.rows(checks))
    return f"**UAT smoke test:**\n\n| check | result | detail |\n| --- | --- | --- |\n{lines}"


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
