"""What the loop does about a window of production, started and waited for: its verdict, a retraining, a release."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from deployments.demo import history, runs
from deployments.demo.stage import Stage, prod
from mlops.adapters.ledger import Entry
from tasks.context import ModelContext

RELEASE_SECONDS = 300.0


def check(stage: Stage, context: ModelContext, window: str, **parameters: Any) -> Entry:
    """Have a window judged. Its run goes on afterwards, with Evidently's report; the demo need not wait for that.

    Raises:
        DemoError: the run ended without a verdict on the window.
    """
    model = context.spec.name
    started = runs.start("drift_check/drift-check", model=model, **parameters)
    stage.checks.append(started.id)

    def judged() -> Entry | None:
        over = runs.ended(started.id)  # Asked first: what ended has written its verdict by now.
        verdict = context.ledger.find("verdict", window)
        if over:
            runs.completed(over)
            if verdict is None:
                raise runs.DemoError(
                    f"drift_check gave window {window} of {model} no verdict; its run {over.name} in the UI shows why"
                )
        decided = over or (verdict is not None and history.decided(context, verdict))
        return verdict if decided else None

    return runs.wait_for(f"the verdict on window {window} of {model}", judged)


def await_checks(stage: Stage) -> None:
    """Wait for the drift checks that still write their reports."""
    for started in stage.checks:
        runs.completed(runs.wait_for("a drift check to end", partial(runs.ended, started)))


def await_retraining(
    stage: Stage,
    context: ModelContext,
    alarm: str,
    asked: str,
    began: datetime,
    release: Callable[[str], None] | None = None,
) -> None:
    """Wait for the run that the automation starts, and for its version in PROD.

    Args:
        stage: the demo's console.
        context: the model.
        alarm: the window that the retraining is for.
        asked: the window that asked for it: the alarm, or a later one that follows it up.
        began: a moment before the event.
        release: gives the release of a version what it needs of a person; none when policy decides.
    """
    model, before = context.spec.name, prod(context)
    why = f"on {alarm}" if asked == alarm else f"again, to follow up {alarm}"
    with stage.step(f"{model}: the automation retrains {why}") as notes:
        found = runs.wait_for(
            "the automation to start a retraining",
            lambda: runs.find_run("retraining", began, model=model, alarm=alarm, window=asked),
            timeout=90,
        )
        done = runs.completed(runs.wait_for("the retraining", lambda: runs.ended(found.id)))
        notes.append(done.state.message or "" if done.state else "")
    answer = context.ledger.find("retraining", asked)
    if answer is None or answer.decision != "challenger ready":
        return
    if release:
        release(answer.numbers["version"])
    with stage.step(f"{model}: release of the new version") as notes:

        def serving() -> str | None:
            now = prod(context)
            changed = now is not None and (before is None or now.state.champion != before.state.champion)
            return (
                now.state.champion.version
                if now and changed and history.release(context, now.state.champion.version)
                else None
            )

        version = runs.wait_for("the new version in PROD", serving, RELEASE_SECONDS)
        notes.append(f"version {version} answers in PROD")
