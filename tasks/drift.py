"""Tasks of the drift check: each window of production gets one standing verdict."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from mlops.adapters import bundles
from mlops.core import verdict as verdicts
from mlops.core import windows
from mlops.core.drift import Reference
from mlops.core.verdict import Verdict
from mlops.core.windows import Window
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import network_task
from tasks.windows import answered_rows, judged_windows, logged_answers, now_or, unjudged_since, window_rows

if TYPE_CHECKING:
    import pandas as pd


class Given(NamedTuple):
    """A verdict, and whether it stands; one that does not is given again by a later check."""

    verdict: Verdict
    stands: bool


@network_task("find closed windows", timeout=300)
def closed_windows(model: str, until: datetime | None) -> list[Window]:
    """The windows that hold predictions, are over by ``until`` (now unless given) and have no standing verdict."""
    context = open_model(model)
    policy, moment = context.spec.drift, now_or(until)
    rows = answered_rows(context, unjudged_since(context))
    if policy.window_rows:
        found = _close_by_count(context, rows, policy.window_rows)
    else:
        found = windows.by_time(rows, context.spec.data, policy, moment)
    return [
        window
        for window in found
        if context.ledger.find("verdict", window.name) is None and len(windows.inside(rows, window, context.spec.data))
    ]


@network_task("judge {window.name}", timeout=300)
def judge_window(model: str, window: Window, until: datetime | None, waiting: bool) -> Given:
    """Give a window its verdict, with the small windows just before it; one that stands already is kept.

    It is judged against the reference of the version that answered most of it. A verdict stands when
    the ledger holds it as ``verdict``; until then its first form is kept there as ``provisional``.

    Args:
        model: the name of a spec.
        window: one that is closed.
        until: the moment to judge its labels' age by; now unless given.
        waiting: an earlier window still waits for labels, so this one's verdict, which counts it, cannot
            stand yet; broken data are told at once all the same.
    """
    context = open_model(model)
    if entry := context.ledger.find("verdict", window.name):
        return Given(msgspec.convert(entry.numbers["verdict"], Verdict), True)
    # By count, windows that one batch fills begin at the same moment.
    at = (window.start, window.last)
    before = [judged for judged in judged_windows(context) if (judged.window.start, judged.window.last) < at]
    pool = windows.small_before([(judged.window, judged.verdict) for judged in before])
    rows = window_rows(context, *pool, window)
    version = str(rows["_version"].mode().iloc[0])
    rows = rows[rows["_version"] == version].reset_index(drop=True)
    digest = str(rows["_digest"].iloc[0])
    age_days = (now_or(until) - window.end) / timedelta(days=1)
    verdict = verdicts.judge(
        _reference(context, digest),
        rows,
        logged_answers(rows),
        rows[context.spec.data.target.name],
        context.spec.data,
        context.spec.drift,
        version,
        history=[judged.verdict for judged in before],
        age_days=age_days,
    )
    stands = windows.is_final(verdict, age_days, context.spec.drift) and not waiting
    entry, _ = context.ledger.record(
        "verdict" if stands or verdict.verdict == "data_incident" else "provisional",
        window.name,
        verdict.verdict,
        reasons=verdict.reasons,
        numbers={
            "verdict": msgspec.to_builtins(verdict),
            "window": msgspec.to_builtins(window),
            "first": rows[windows.clock(context.spec.data)].min().isoformat(),
            "requested": rows["_time"].min().isoformat(),
            "pooled": [each.name for each in pool],
            "digest": digest,
        },
        flow_run=current_flow_run(),
    )
    if entry.kind == "provisional":
        return Given(verdict, False)  # the newest look; the entry is the first one
    return Given(msgspec.convert(entry.numbers["verdict"], Verdict), True)


@task(name="publish verdict", task_run_name="publish verdict {window.name}", cache_policy=NO_CACHE)
def publish_verdict(model: str, window: Window, verdict: Verdict, stands: bool) -> None:
    """Show the verdict as a page that needs no statistics to read."""
    note = "" if stands else " (provisional: its labels are still coming)"
    create_markdown_artifact(
        key=f"{model}-verdict",
        description=f"{window.name}: {verdict.verdict}{note}",
        markdown=verdicts.markdown(verdict, f"{model}, window {window.name}{note}"),
    )


@network_task("publish windows", timeout=300)
def publish_windows(model: str, most: int = 50) -> None:
    """Show the newest windows as a table: verdict, late rows, and what came of alarms."""
    context = open_model(model)
    history = judged_windows(context)[-most:]
    if not history:
        return
    rows = answered_rows(context, unjudged_since(context))
    outcomes = {entry.subject: entry for entry in context.ledger.entries("outcome")}
    table = []
    for judged in history:
        found = windows.inside(rows, judged.window, context.spec.data) if len(rows) else rows
        answered = int((found["_version"] == judged.verdict.version).sum()) if len(found) else 0
        outcome = outcomes.get(judged.window.name)
        late = max(0, answered - judged.verdict.rows) if not judged.entry.numbers["pooled"] else 0
        table.append(
            {
                "window": judged.window.name,
                "version": judged.verdict.version,
                "rows": judged.verdict.rows,
                "came late": late,
                "verdict": judged.verdict.verdict.replace("_", " "),
                "alarm was": {True: "true", False: "false"}.get(outcome.numbers["alarm_true"], "") if outcome else "",
                "retraining": "" if outcome is None else outcome.decision,
            }
        )
    create_table_artifact(
        key=f"{model}-windows", description=f"The last {len(table)} windows of {model}.", table=table[::-1]
    )


def _close_by_count(context: ModelContext, rows: "pd.DataFrame", size: int) -> list[Window]:
    """Close what is full: each window's bounds are recorded once, whoever comes first; return all recorded ones."""
    entries = context.ledger.entries("window")
    closed = sorted((msgspec.convert(e.numbers, Window) for e in entries), key=lambda each: each.name)
    while window := windows.by_count(rows, size, closed[-1] if closed else None, len(closed) + 1):
        entry, _ = context.ledger.record(
            "window", window.name, "closed", numbers=msgspec.to_builtins(window), flow_run=current_flow_run()
        )
        closed.append(msgspec.convert(entry.numbers, Window))
    return closed


def _reference(context: ModelContext, digest: str) -> Reference:
    return bundles.decode(context.store, context.spec.name, digest, "profile.json", Reference)
