"""Tasks of an approval: the evidence that a person needs, and whether one is needed."""

import msgspec
from prefect.artifacts import create_markdown_artifact

from mlops.adapters import bundles
from mlops.adapters.ledger import Entry
from mlops.adapters.registry import Version
from mlops.adapters.serving import Found
from mlops.core import smoke
from mlops.core.evaluation import Metrics
from mlops.core.serving import Environment, Served
from tasks.context import ModelContext, open_model
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
    text = "\n\n".join(
        [
            f"## Release {model} version {version.version} to {environment.upper()}?",
            f"Bundle `{version.digest[:16]}…`, trained on snapshot `{version.snapshot[:16]}…`.",
            _comparison(context, version, champion),
            _origin(context, version),
            _gates(gate),
            _uat(checks),
            f"Nothing in {environment.upper()} changes unless this is approved within"
            f" {context.spec.release.approval.hours:g} hours.",
        ]
    )
    create_markdown_artifact(key=f"{model}-release-evidence", markdown=text)
    return text


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


def _origin(context: ModelContext, version: Version) -> str:
    """What led to this version: the verdict behind a retraining, or a person."""
    answer = context.ledger.newest("retraining", version=version.version)
    verdict = context.ledger.find("verdict", answer.subject) if answer else None
    if verdict is None:
        return "**Origin:** no alarm; the training was started by hand or by a schedule."
    reasons = "\n".join(f"- {reason}" for reason in verdict.reasons)
    return f"**Origin:** retrained after the verdict {verdict.decision} on {verdict.subject}:\n\n{reasons}"


def _gates(gate: Entry | None) -> str:
    if gate is None:
        return "**Gates:** none recorded."
    return f"**Gates ({gate.decision}):**\n\n" + "\n".join(f"- {reason}" for reason in gate.reasons)


def _uat(checks: list[smoke.Check]) -> str:
    if not checks:
        return "**UAT smoke test:** not yet; this version is not in UAT."
    lines = "\n".join(f"| {each['check']} | {each['result']} | {each['detail']} |" for each in smoke.rows(checks))
    return f"**UAT smoke test:**\n\n| check | result | detail |\n| --- | --- | --- |\n{lines}"
