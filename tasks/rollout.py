"""Tasks of a rollout in PROD: the challenger as the champion's shadow, then as its canary, judged while it answers."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from msgspec.structs import replace
from prefect.artifacts import create_table_artifact

from mlops.adapters.answers import LoggedAnswers
from mlops.adapters.registry import Version
from mlops.adapters.scoring_client import ScoringClient
from mlops.adapters.serving import Found, NotServed, read_state, wait_until_served, write_state
from mlops.adapters.store import Conflict
from mlops.core.canary import Reading, StepVerdict, judge_quiet, judge_shadow, judge_step, parse, restarted
from mlops.core.comparison import compare_answers
from mlops.core.serving import Served, state_key
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import Refused, network_task
from tasks.release import ensure_service, overtaken, restore

POLL_SECONDS = 0.5
UNREACHABLE_SECONDS = 10.0
"""A service that has not answered for so long is a reason to roll back."""
LOG_SECONDS = 3.0
"""How long the report on a shadow waits for the log to hold what the counters have counted."""
Judge = Callable[[Reading, Reading], StepVerdict]


@network_task("shadow", timeout=None, resumable=True)
def run_shadow(model: str, version: Version, before: Found) -> StepVerdict:
    """Let the challenger be asked beside the champion, judge it, and report the most different requests.

    Returns:
        ``go``, or ``roll_back`` once the champion is alone again; the numbers say how long the trial took
        (``seconds_to_rollback``).

    Raises:
        Refused: PROD is no longer this release's, or cannot load the version.
    """
    context = open_model(model)
    release = context.spec.release
    answers, baseline = LoggedAnswers(context.store, model, "prod", keep_rows=True), _read(context)
    served, began = Served(version.digest, version.version), time.monotonic()
    written = _advance(context, before, shadow=served, canary=None, share=0.0)
    champion = before.state.champion.version
    judge = partial(judge_shadow, release=release, champion=champion, shadow=version.version)
    verdict = _watch(context, written, baseline, judge, 0.0, release.shadow.seconds)
    if verdict.decision == "roll_back":
        verdict = _go_back(context, before, written, verdict, began)
    else:
        verdict = replace(verdict, decision="go")
    _report(context, answers, written, verdict)
    return verdict


@network_task("canary {share}", timeout=None, resumable=True)
def run_canary(model: str, version: Version, before: Found, share: float) -> StepVerdict:
    """Let the challenger answer a share of the requests and judge it against the champion until the step is over.

    Returns:
        ``go``, or ``roll_back`` once the champion answers everything again; the numbers say how long after the
        canary's first answer that was, at most (``seconds_to_rollback``).

    Raises:
        Refused: PROD is no longer this release's, or cannot load the version.
    """
    context = open_model(model)
    release = context.spec.release
    served = Served(version.digest, version.version)
    answers, baseline, began = LoggedAnswers(context.store, model, "prod"), _read(context), time.monotonic()
    shadow = served if release.shadow.seconds else None  # Beside the canary: the same requests, compared one by one.
    written = _advance(context, before, shadow=shadow, canary=served, share=share)

    def judge(start: Reading, now: Reading) -> StepVerdict:
        answers.read()
        classes = answers.classes(written.state.generation)
        champion = before.state.champion.version
        return judge_step(start, now, release, champion=champion, canary=version.version, classes=classes)

    verdict = _watch(context, written, baseline, judge, release.canary.min_seconds, release.canary.max_seconds)
    if verdict.decision == "wait":
        verdict = judge_quiet(verdict, release.canary)
    if verdict.decision == "roll_back":
        verdict = _go_back(context, before, written, verdict, began)
    return replace(verdict, numbers=verdict.numbers | {"share": share})


def _advance(
    context: ModelContext, before: Found, *, shadow: Served | None, canary: Served | None, share: float
) -> Found:
    """Write the next step of this release over its last one, or over the state from before, and wait until it serves.

    Raises:
        Refused: PROD was changed by another run (nothing is written), or the service cannot serve the
            version (the champion is put back).
    """
    model, run = context.spec.name, current_flow_run()
    service = ensure_service(context, "prod")
    current = read_state(context.store, model, "prod")
    mine = current if current and current.state.release == run else None
    written = mine if mine and (mine.state.shadow, mine.state.canary, mine.state.canary_share) == (
        shadow, canary, share) else None  # fmt: skip
    if written is None:
        champion = before.state.champion
        try:
            written = write_state(
                context.store, model, "prod", champion, run, mine or before, shadow=shadow, canary=canary, share=share
            )
        except Conflict:
            raise overtaken(context, "prod") from None
    try:
        wait_until_served(service.url, written.state.generation)
    except NotServed as error:
        _undo(context, before, written)
        raise Refused(f"{error}; prod is as it was") from None
    return written


def _undo(context: ModelContext, before: Found, written: Found) -> None:
    try:
        with suppress(NotServed):  # It is put back, whether or not the service says so.
            restore(context, "prod", before, written)
    except Conflict:
        raise overtaken(context, "prod") from None


def _watch(
    context: ModelContext, written: Found, baseline: Reading, judge: Judge, least: float, most: float
) -> StepVerdict:
    """Judge the counters again and again: until a roll back, ``go`` after ``least`` seconds, or ``most`` are over.

    Raises:
        Refused: another run changed PROD meanwhile, a rollback for instance.
    """
    model, started = context.spec.name, time.monotonic()
    key, heard, previous, restarts = state_key(model, "prod"), started, baseline, 0
    with ScoringClient(context.services.describe(model, "prod").url, timeout=5.0) as client:
        while True:
            time.sleep(POLL_SECONDS)
            if context.store.etag(key) != written.etag:
                raise overtaken(context, "prod")
            now, text = time.monotonic(), client.metrics()
            if not text:
                if now - heard > UNREACHABLE_SECONDS:
                    return StepVerdict("roll_back", (f"the service has not answered for {now - heard:.0f} s",))
                continue
            heard, reading = now, parse(text)
            if restarted(previous, reading):
                baseline, restarts = Reading(), restarts + 1
                if restarts > 1:  # What ends the process leaves no errors in its counters.
                    return StepVerdict("roll_back", (f"the service ended {restarts} times in this step",))
            previous = reading
            verdict = judge(baseline, reading)
            over = now - started >= (least if verdict.decision == "go" else most)
            if verdict.decision == "roll_back" or over:
                if context.store.etag(key) != written.etag:  # Changed while the counters were read.
                    raise overtaken(context, "prod")
                return verdict


def _go_back(context: ModelContext, before: Found, written: Found, verdict: StepVerdict, began: float) -> StepVerdict:
    """Let the champion answer everything again, at once: whatever came first would be time for more bad answers.

    Args:
        context: the model.
        before: the state to go back to.
        written: the state to replace.
        verdict: why.
        began: when the version was let in (``time.monotonic``).

    Raises:
        Refused: another run changed PROD meanwhile.
    """
    try:
        restore(context, "prod", before, written)
    except Conflict:
        raise overtaken(context, "prod") from None
    except NotServed as error:  # The state is put back all the same.
        return replace(verdict, reasons=(*verdict.reasons, str(error)))
    return replace(verdict, numbers=verdict.numbers | {"seconds_to_rollback": round(time.monotonic() - began, 1)})


def _read(context: ModelContext) -> Reading:
    with ScoringClient(ensure_service(context, "prod").url, timeout=5.0) as client:
        return parse(client.metrics())


def _report(context: ModelContext, answers: LoggedAnswers, written: Found, verdict: StepVerdict) -> None:
    """Show where the shadow differs most, as an artifact."""
    shadow = written.state.shadow
    if shadow is None:
        return
    deadline = time.monotonic() + LOG_SECONDS
    while True:
        answers.read()
        frame = answers.frame(written.state.generation)
        found = None if frame is None else compare_answers(frame, context.spec.data, shadow.version)
        compared = found.compared if found else 0
        if compared >= verdict.numbers.get("compared", 0) or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    differ = found.differ if found else 0
    create_table_artifact(
        key=f"{context.spec.name}-shadow",
        table=list(found.rows) if found else [],
        description=(
            f"{context.spec.name} version {shadow.version} as the shadow of version {written.state.champion.version}:"
            f" {differ} of {compared} logged requests got another class; those whose probabilities are furthest apart"
            f" come first. {'; '.join(verdict.reasons)}"
        ),
    )
