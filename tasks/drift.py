"""Tasks of the drift check: closed windows of production, each judged exactly once."""

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from mlops.adapters import bundles, evidently_report
from mlops.adapters.ledger import Entry
from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.core import verdict as verdicts
from mlops.core.drift import Reference
from mlops.core.labels import with_labels
from mlops.core.verdict import Verdict
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import network_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

EPOCH = datetime(1970, 1, 5, tzinfo=UTC)
"""Windows are counted from a Monday unless the spec names another start."""


class Window(msgspec.Struct, frozen=True):
    """A slice of time, first moment in, last one out; ``name`` is its subject in the ledger."""

    name: str
    start: datetime
    end: datetime


@network_task("find closed windows", timeout=300)
def closed_windows(model: str, until: datetime | None) -> list[Window]:
    """The windows that hold predictions, are over by ``until`` (now unless given) and have no verdict."""
    context = open_model(model)
    rows = _window_rows(context)
    if rows.empty:
        return []
    policy = context.spec.drift
    start, length = policy.start or EPOCH, timedelta(days=policy.window_days)
    numbers = ((rows[_clock(context)] - start) // length).unique()
    found = (_window(start + int(number) * length, length) for number in sorted(numbers))
    limit = until or datetime.now(UTC)
    return [each for each in found if each.end <= limit and context.ledger.find("verdict", each.name) is None]


@network_task("judge {window.name}", timeout=300)
def judge_window(model: str, window: Window) -> Verdict:
    """Give a window its verdict and write it to the ledger; a window that has one keeps it.

    The window is judged against the reference of the version that answered most of it.
    """
    context = open_model(model)
    rows = _rows_of(context, window)
    version = str(rows["_version"].mode().iloc[0])
    rows = rows[rows["_version"] == version]
    digest = str(rows["_digest"].iloc[0])
    verdict = verdicts.judge(
        _reference(context, digest),
        rows,
        _probabilities(rows),
        rows[context.spec.data.target.name],
        context.spec.data,
        context.spec.drift,
        version,
        history=_history(context, window),
    )
    entry, _ = context.ledger.record(
        "verdict",
        window.name,
        verdict.verdict,
        reasons=verdict.reasons,
        numbers={
            "verdict": msgspec.to_builtins(verdict),
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "digest": digest,
        },
        flow_run=current_flow_run(),
    )
    return _verdict(entry)


@task(name="publish verdict", task_run_name="publish verdict {window.name}", cache_policy=NO_CACHE)
def publish_verdict(model: str, window: Window, verdict: Verdict) -> None:
    """Show the verdict as a page that needs no statistics to read."""
    create_markdown_artifact(
        key=f"{model}-verdict",
        description=f"{window.name}: {verdict.verdict}",
        markdown=verdicts.markdown(verdict, f"{model}, window {window.name}"),
    )


@network_task("report {window.name}", timeout=300)
def report_window(model: str, window: Window, verdict: Verdict) -> str:
    """Write Evidently's report on a window to the store and link it; return its key."""
    context = open_model(model)
    rows = _rows_of(context, window)
    rows = rows[rows["_version"] == verdict.version]
    digest = str(rows["_digest"].iloc[0])
    data = bundles.load(context.store, model, digest, "reference.parquet")["reference.parquet"]
    report = evidently_report.render(
        *_comparable(context, _parquet(data), rows), context.spec.data, _labelled(context, rows)
    )
    key = f"{model}/reports/drift/{window.name}.html"
    context.store.put(key, report.html)
    create_link_artifact(
        key=f"{model}-evidently",
        link=f"{context.settings.reports_url}/{key}",
        link_text=f"Evidently report of {window.name}",
        description=_summary(report.summary),
    )
    return key


def _window(start: datetime, length: timedelta) -> Window:
    return Window(f"prod-{start:%Y-%m-%dT%H%M}", start, start + length)


def _clock(context: ModelContext) -> str:
    """The column that tells a row's time: the event's, else the request's."""
    return context.spec.data.time or "_time"


def _window_rows(context: ModelContext) -> "pd.DataFrame":
    """Answered PROD predictions with their labels, as far back as an unjudged window can reach."""
    store, model = context.store, context.spec.name
    judged = context.ledger.entries("verdict")
    margin = timedelta(days=context.spec.drift.window_days + 1)
    since = (judged[-1].time - margin).date() if judged else None
    predictions = read_predictions(store, model, "prod", since, schema=context.spec.data).to_pandas()
    feedback = read_feedback(store, model, since).to_pandas()
    return with_labels(predictions, feedback, context.spec.data)


def _rows_of(context: ModelContext, window: Window) -> "pd.DataFrame":
    rows = _window_rows(context)
    times = rows[_clock(context)]
    return rows[(times >= window.start) & (times < window.end)].reset_index(drop=True)


def _history(context: ModelContext, window: Window) -> list[Verdict]:
    """The verdicts on earlier windows, oldest first."""
    entries = sorted(context.ledger.entries("verdict"), key=lambda entry: entry.numbers["start"])
    return [_verdict(entry) for entry in entries if entry.numbers["start"] < window.start.isoformat()]


def _verdict(entry: Entry) -> Verdict:
    return msgspec.convert(entry.numbers["verdict"], Verdict)


def _reference(context: ModelContext, digest: str) -> Reference:
    data = bundles.load(context.store, context.spec.name, digest, "profile.json")["profile.json"]
    return msgspec.json.decode(data, type=Reference)


def _probabilities(rows: "pd.DataFrame") -> "np.ndarray":
    import numpy as np

    return np.array(rows["_probabilities"].to_list(), dtype=float)


def _parquet(data: bytes) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_parquet(io.BytesIO(data))


def _labelled(context: ModelContext, rows: "pd.DataFrame") -> bool:
    return bool(rows[context.spec.data.target.name].notna().any())


def _comparable(
    context: ModelContext, reference: "pd.DataFrame", rows: "pd.DataFrame"
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Reference and window with the same columns; with labels, only the rows that have one."""
    target = context.spec.data.target.name
    names = [column.name for column in context.spec.data.columns] + ["prediction"]
    current = rows.rename(columns={"_predicted": "prediction"})
    if _labelled(context, rows):
        names.append(target)
        current = current[current[target].notna()]
    return reference[names], current[names]


def _summary(summary: dict[str, object]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in summary.items())
