"""Tasks of retraining: an alarm and each of its follow-ups is answered once, and how is written to the ledger."""

from typing import NamedTuple

import msgspec

from mlops.adapters.ledger import Entry
from mlops.core import rivals
from mlops.core.rivals import Progress
from tasks.bundles import bundle_lineage
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import Refused, network_task
from tasks.runs import describe_run
from tasks.windows import Occasion, find_alarm, newest_alarm, standing_alarms

MOST_TRIES = 3
"""Runs that may die on one window before it is given up: what kills three runs will kill a fourth."""


class Claim(NamedTuple):
    """Whether this run answers a window, and else why not."""

    ours: bool
    why: str = ""


@network_task("claim the alarm")
def claim_alarm(model: str, alarm: str, window: str) -> Claim:
    """Take a window for this run, unless a run has answered it or is at it; a dead run's claim is taken over.

    However many events ask for it, and however many runs they start at the same time, one run gets it:
    each claim is a conditional put, and the next one is only tried when Prefect says that its holder is dead.

    Args:
        model: the name of a spec.
        alarm: the window whose verdict was retrain.
        window: the same one, or a later one at which its follow-up was due.

    Raises:
        Refused: the ledger knows no such alarm, or no follow-up of it at this window.
    """
    context = open_model(model)
    found = find_alarm(context, alarm)
    _check_follow_up(context, alarm, window)
    if done := context.ledger.find("retraining", window):
        return _answered(done)
    if window == alarm and not found.refresh and (why := _superseded(context, found)):
        return Claim(False, why)
    for number in range(1, MOST_TRIES + 1):
        mine, _ = context.ledger.record(
            "claim", f"{window}-{number}", "taken", numbers={"alarm": alarm}, flow_run=current_flow_run()
        )
        if mine.flow_run == current_flow_run():
            return Claim(True)
        if (holder := describe_run(mine.flow_run)).alive:
            return Claim(False, f"is being answered by {holder}")
        # A run that has ended may have answered after this one looked: only one that left no answer is replaced.
        if done := context.ledger.find("retraining", window):
            return _answered(done)
    context.ledger.record(
        "retraining",
        window,
        "given up",
        reasons=(f"{MOST_TRIES} flow runs ended without an answer; the last one was {holder}",),
        numbers={"alarm": alarm, "version": None},
        flow_run=current_flow_run(),
    )
    return Claim(False, f"is given up: {MOST_TRIES} flow runs ended without an answer")


@network_task("write retraining to the ledger", timeout=300)
def record_retraining(
    model: str, alarm: str, window: str, snapshot: str | None, version: str, digest: str, accepted: bool
) -> None:
    """Write what a window led to: which rival won, whether it may be released, and how much of its data was new."""
    context = open_model(model)
    lineage = bundle_lineage(context, digest)
    context.ledger.record(
        "retraining",
        window,
        "challenger ready" if accepted else "refused by validation",
        reasons=(f"alarm {alarm}", lineage.reason),
        numbers={
            "alarm": alarm,
            "snapshot": snapshot,
            "version": version,
            "rival": lineage.rival,
            "progress": msgspec.to_builtins(_progress(context, alarm, snapshot)),
        },
        flow_run=current_flow_run(),
    )


@network_task("look the version up")
def version_digest(model: str, version: str) -> str:
    """The bundle of a version."""
    return open_model(model).registry.version(model, version).digest


def _superseded(context: ModelContext, alarm: Occasion) -> str:
    """Why an alarm that no run has answered needs no answer, if so."""
    newest = newest_alarm(context)
    if newest is None or newest.name == alarm.name:
        return "" if newest else _of_the_past(alarm)
    if alarm.name in {each.window.name for each in standing_alarms(context)}:
        return f"is superseded by alarm {newest.name}, whose answer sees all that this one saw"
    return _of_the_past(alarm)


def _of_the_past(alarm: Occasion) -> str:
    return f"tells of version {alarm.judged.verdict.version}, which no longer serves"


def _answered(done: Entry) -> Claim:
    return Claim(False, f"was answered by flow run {done.flow_run}: {done.decision}")


def _check_follow_up(context: ModelContext, alarm: str, window: str) -> None:
    if window == alarm:
        return
    due = context.ledger.find("follow_up", window)
    if due is None or due.decision != "due" or due.numbers["alarm"] != alarm:
        raise Refused(f"the ledger of {context.spec.name} holds no follow-up of alarm {alarm!r} at window {window!r}")


def _progress(context: ModelContext, alarm: str, snapshot: str | None) -> Progress:
    spec = context.spec
    if snapshot is None:
        return Progress(0, 0, False)
    frame = context.snapshots.rows(snapshot, spec.data, spec.training.window_days)
    moment = find_alarm(context, alarm).moment
    return rivals.progress(frame, rivals.position(frame, moment, spec.data), spec)
