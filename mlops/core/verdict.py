"""The verdict: what a window of production means, in sentences that need no statistics to read.

Four questions in order. Are there enough rows? Are the data sound? Broken data never count against the
model. Are the inputs as in training? Drifted inputs alone never retrain. Is the model worse? It is
when its measured loss, or accuracy, falls short of what its own probabilities expect by more than on
its holdout and by more than past windows make likely. A single worse window asks for a look; one that
repeats, or a loss that only the last windows together show, for a retraining. All tests together stay
within one error budget.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pandas as pd

from mlops.core import evidence
from mlops.core.arrays import Floats
from mlops.core.estimate import estimated, harder
from mlops.core.findings import INCIDENTS, Finding
from mlops.core.fingerprint import Fingerprint
from mlops.core.lasting import Tally
from mlops.core.profile import Holdout, Reference
from mlops.core.schema import Schema
from mlops.core.sentences import drift_sentences, incident_sentence, loss_sentence, worse_sentences
from mlops.core.verdict_page import markdown
from mlops.spec import Drift

__all__ = ["Meaning", "Verdict", "judge", "markdown"]

Meaning = Literal["ok", "wait", "investigate", "retrain", "data_incident"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a window means, why, and the numbers behind it."""

    verdict: Meaning
    reasons: tuple[str, ...]
    version: str
    """Version of the model that answered."""
    rows: int
    labelled: int
    worse: bool = False
    """Whether this window alone shows a worse model."""
    numbers: dict[str, float | None] = {}
    """Losses in nats a row; none where labels are missing."""
    columns: tuple[Finding, ...] = ()
    """Tests of inputs and predictions, and incidents; every test, so that later windows can be calibrated on them."""
    performance: tuple[Finding, ...] = ()
    """Tests of labels: over all rows, over the last windows together, and the slices that are worse."""
    tally: tuple[Tally, ...] = ()
    """The labelled rows in few numbers, by which later windows are tested together with this one."""
    lasting: int = 0
    """Over so many windows together, this one the last, the model is worse; 0: not, or enough are worse alone."""
    waits_for: Literal["", "rows", "labels"] = ""
    """What a ``wait`` waits for: ``rows`` can be pooled with the next window, ``labels`` can be judged again later."""
    estimated: dict[str, float] = {}
    """Performance that the model's own probabilities expect (CBPE): an estimate, made without labels."""
    start: str = ""
    end: str = ""
    """First and last event time of the rows, ISO 8601, where the schema has a time column."""
    since: str = ""
    """``start`` of the first window of the present run of windows that were not ok."""
    fingerprint: Fingerprint | None = None
    """By which the next window is known when it repeats this one."""


def judge(
    reference: Reference,
    window: pd.DataFrame,
    probabilities: Floats | None,
    labels: pd.Series | None,
    schema: Schema,
    policy: Drift,
    version: str,
    history: Sequence[Verdict] = (),
    *,
    age_days: float | None = None,
) -> Verdict:
    """Give a window its verdict.

    Args:
        reference: from the training of this version.
        window: typed inputs, one row an answered request.
        probabilities: the answers [rows, classes]; none where no model is involved.
        labels: true classes in the window's row order; what is none of the classes has not arrived.
            None: no labels are expected, so that a sound window is ``ok`` rather than ``wait``.
        schema: the model's columns and classes.
        policy: minimum rows, budgets and the rule of persistence.
        version: the version that answered.
        history: earlier verdicts of this model and environment, oldest first.
        age_days: days since the window's end, for ``label_delay_days``; none: its labels are old enough.

    Raises:
        ValueError: the window, its probabilities and its labels differ in length.
    """
    rows = len(window)
    if {len(each) for each in (probabilities, labels) if each is not None} - {rows}:
        raise ValueError(
            f"{rows} rows, {'no' if probabilities is None else len(probabilities)} answers and their labels must be as"
            " many of each"
        )
    known = evidence.known_labels(labels, probabilities, schema)
    start, end = evidence.span(window, schema)
    given = Verdict(
        verdict="ok",
        reasons=(),
        version=version,
        rows=rows,
        labelled=int(known.sum()),
        numbers=evidence.loss_numbers(reference.holdout, probabilities, labels, known, schema),
        start=start,
        end=end,
    )
    if rows < max(1, policy.min_rows):
        count = "1 row" if rows == 1 else f"{rows} rows"
        return _decide(given, "wait", f"Only {count}; a verdict needs {policy.min_rows}.", waits_for="rows")
    columns, fingerprint = evidence.inputs(reference, window, probabilities, schema, policy, version, history)
    given = msgspec.structs.replace(given, columns=columns, fingerprint=fingerprint)
    if broken := [found for found in columns if _is_incident(found, policy)]:
        return _since(_decide(given, "data_incident", *map(incident_sentence, broken)), history)
    if probabilities is None or reference.holdout is None:
        return _since(_judge_data(given, reference, labels, schema, policy), history)
    if labels is None:
        return _since(_judge_answers(given, reference.holdout, probabilities), history)
    if late := _immature(given, policy, age_days):
        return _since(_judge_answers(given, reference.holdout, probabilities, late), history)
    found, scores, tally = evidence.performance(
        reference, window, probabilities, labels, known, schema, policy, version, history
    )
    given = msgspec.structs.replace(given, performance=found, tally=tally, numbers={**given.numbers, **scores})
    return _since(_judge_model(given, policy, history), history)


def _is_incident(found: Finding, policy: Drift) -> bool:
    return found.kind in INCIDENTS and not (found.kind == "unseen" and policy.new_values == "investigate")


def _immature(given: Verdict, policy: Drift, age_days: float | None) -> str | None:
    """Say what the labels lack before they count, if anything."""
    needed = max(policy.min_rows, math.ceil(policy.min_label_share * given.rows))
    if given.labelled < needed:
        return f"{given.labelled} of {given.rows} labels have arrived; the model's loss needs {needed}."
    if age_days is not None and age_days < policy.label_delay_days:
        return (
            f"The labels are too young: the window ended {age_days:.3g} days ago, and they count"
            f" {policy.label_delay_days:g} days after its end."
        )
    return None


def _judge_data(
    given: Verdict, reference: Reference, labels: pd.Series | None, schema: Schema, policy: Drift
) -> Verdict:
    """Decide where no model is involved: on inputs, and on the shares of the true classes."""
    if labels is not None:
        shares = evidence.class_shares(reference, labels, schema, policy)
        given = msgspec.structs.replace(given, columns=(*given.columns, *shares))
    drifted = drift_sentences(given.columns)
    return _decide(given, "investigate" if drifted else "ok", *(drifted or ["The data are as in training."]))


def _judge_answers(given: Verdict, holdout: Holdout, probabilities: Floats, late: str | None = None) -> Verdict:
    """Decide without labels that count: on inputs and answers; what the model may lose is an estimate."""
    given = msgspec.structs.replace(given, estimated=estimated(holdout, probabilities))
    drifted = drift_sentences(given.columns)
    more = [each for each in (harder(holdout, given.estimated) if drifted else None, late) if each]
    waits: dict[str, Any] = {"waits_for": "labels"} if late else {}
    if drifted:
        return _decide(given, "investigate", *drifted, *more, **waits)
    fine = [] if late else ["Inputs and answers are as in training; without labels nothing more is known."]
    return _decide(given, "wait" if late else "ok", *fine, *more, **waits)


def _judge_model(given: Verdict, policy: Drift, history: Sequence[Verdict]) -> Verdict:
    """Decide on the model, with labels that count and data that are sound."""
    drifted, worse = drift_sentences(given.columns), worse_sentences(given.performance)
    costly = [found for found in given.performance if _costs(found, policy)]
    given = msgspec.structs.replace(given, worse=any(found.windows == 1 for found in costly))
    lasts = [found for found in costly if found.windows > 1 and _repeats(found, given, policy, history)]
    if lasts and not _agrees(given, policy, history):
        given = msgspec.structs.replace(given, lasting=lasts[0].windows)
    if given.worse or given.lasting:
        decision, why = _persistence(given, policy, history)
        told = loss_sentence(given.numbers, "is worse than in training")
        return _decide(given, decision, told, why, *worse, *drifted)
    fine = loss_sentence(given.numbers, "is not materially worse than in training")
    changed = drifted or any(found.drifted for found in given.performance)
    return _decide(given, "investigate" if changed else "ok", *drifted, *worse, fine)


def _costs(found: Finding, policy: Drift) -> bool:
    """Whether a test shows a loss beyond chance that is worth a retraining."""
    return found.drifted and found.kind in {"loss", "surprise", "residual"} and found.statistic > policy.max_excess_loss


def _persistence(given: Verdict, policy: Drift, history: Sequence[Verdict]) -> tuple[Meaning, str]:
    """Retrain when enough recent windows of this version agree and the last retraining is long enough ago."""
    same = _same(given, history)[-policy.of :]
    worse = sum(past.worse for past in same)
    count = f"{worse} of the last {len(same)} windows of version {given.version} {'is' if worse == 1 else 'are'} worse"
    if given.lasting:
        count += f" alone, but the last {given.lasting} together are, even without the worst of them"
    elif worse < policy.agree:
        return "investigate", f"{count}; a retraining needs {policy.agree} of {policy.of}."
    enough = [past for past in history if past.waits_for != "rows"]
    recent = enough[max(0, len(enough) - policy.cooldown_windows) :]
    if any(past.verdict == "retrain" for past in recent):
        return "investigate", f"{count}, but a retraining was asked for within {policy.cooldown_windows} windows."
    return "retrain", f"{count}: retrain."


def _same(given: Verdict, history: Sequence[Verdict]) -> list[Verdict]:
    """The windows of this version whose labels were judged: what no label tells of speaks for no model, nor against."""
    return [*(past for past in history if past.version == given.version and past.performance), given]


def _agrees(given: Verdict, policy: Drift, history: Sequence[Verdict]) -> bool:
    return sum(past.worse for past in _same(given, history)[-policy.of :]) >= policy.agree


def _repeats(lasting: Finding, given: Verdict, policy: Drift, history: Sequence[Verdict]) -> bool:
    """Whether a loss over windows together is one of this window and of as many as must agree, by their means."""
    pooled = [past for past in _same(given, history) if past.tally][-lasting.windows :]
    above = [
        any(found.statistic > policy.max_excess_loss for found in past.performance if _alone(found, lasting))
        for past in pooled
    ]
    return above[-1] and sum(above) >= policy.agree


def _alone(found: Finding, lasting: Finding) -> bool:
    return found.kind == lasting.kind and not found.slice and found.windows == 1


def _since(given: Verdict, history: Sequence[Verdict]) -> Verdict:
    """Note when the present run of windows that are not all right began."""
    if given.verdict in {"ok", "wait"}:
        return given
    since = given.start
    for past in reversed(history):
        if past.verdict == "ok":
            break
        if past.verdict != "wait":
            since = past.start or since
    return msgspec.structs.replace(given, since=since)


def _decide(given: Verdict, decision: Meaning, *reasons: str, **changes: Any) -> Verdict:
    return msgspec.structs.replace(given, verdict=decision, reasons=reasons, **changes)
