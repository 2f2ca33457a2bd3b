"""The verdict: what a window of production means, in sentences that need no statistics to read.

A model is worse when its measured loss exceeds what its own probabilities expect by more than it
did on its holdout. Rows count as independent: a stormy week is beyond their chance too, so a single
worse window asks for a look, and only one that repeats asks for a retraining. Drifted inputs alone
never do, and broken data never count against the model.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from mlops.core.drift import INCIDENTS, Finding, Kind, Reference, compare, expected_losses
from mlops.core.evaluation import evaluate, losses
from mlops.core.schema import Schema
from mlops.core.two_sample import Floats, moments
from mlops.spec import Drift

Decision = Literal["ok", "wait", "investigate", "retrain", "data_incident"]

LOSS_LEVEL = 0.001
"""One-sided chance of calling a window of independent rows worse when the model is unchanged."""
NAMED = 5
"""Most drifted columns that a reason names."""
INCIDENT_TEXTS: dict[Kind, str] = {
    "absent": "it is absent; find out why its source no longer sends it",
    "all_missing": "every value is missing; repair its source or the join that brings it",
    "unseen": "{effect:.1%} of the rows hold values never seen in training; check the codes that its source sends",
    "stuck": "every row holds {statistic:g}, which was rare in training; check whether its source is stuck",
    "unit": "values are {effect:.3g} times what they were, in the same shape; check the unit that its source sends",
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a window means, why, and the numbers behind it."""

    verdict: Decision
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


def judge(
    reference: Reference,
    window: pd.DataFrame,
    probabilities: Floats,
    labels: pd.Series | None,
    schema: Schema,
    policy: Drift,
    version: str,
    history: Sequence[Verdict] = (),
) -> Verdict:
    """Give a window its verdict.

    Args:
        reference: from the training of this version.
        window: typed inputs, one row an answered request.
        probabilities: the answers [rows, classes].
        labels: true classes in the window's row order; what is none of the classes has not arrived.
        schema: the model's columns and classes.
        policy: minimum rows, budgets and the rule of persistence.
        version: the version that answered.
        history: earlier verdicts of this model and environment, oldest first.

    Raises:
        ValueError: the window, its probabilities and its labels differ in length.
    """
    rows = len(window)
    if len(probabilities) != rows or (labels is not None and len(labels) != rows):
        raise ValueError(f"{rows} rows, {len(probabilities)} answers and their labels must be as many of each")
    known = _labelled(labels, probabilities, schema)
    numbers = _numbers(reference, probabilities, labels, known, schema)
    given = Verdict(verdict="ok", reasons=(), version=version, rows=rows, labelled=int(known.sum()), numbers=numbers)
    if rows < max(1, policy.min_rows):
        return _decide(given, "wait", f"Only {rows} rows; a verdict needs {policy.min_rows}.")
    given = msgspec.structs.replace(
        given, columns=compare(reference, window, probabilities, schema, policy.false_alarm_rate)
    )
    if incidents := [_incident(finding) for finding in given.columns if finding.kind in INCIDENTS]:
        return _decide(given, "data_incident", *incidents)
    return _judge_model(given, policy, history)


def markdown(verdict: Verdict, title: str) -> str:
    """Write a verdict as a page: decision, reasons, numbers, drifted columns."""
    lines = [f"# {verdict.verdict.replace('_', ' ')}: {title}", "", *(f"- {reason}" for reason in verdict.reasons), ""]
    lines += ["| number | value |", "| --- | ---: |", f"| version | {verdict.version} |"]
    lines += [f"| rows | {verdict.rows} |", f"| labelled | {verdict.labelled} |"]
    lines += [f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in verdict.numbers.items()]
    lines += ["", "| column | test | effect | p | drifted |", "| --- | --- | ---: | ---: | --- |"]
    for found in sorted(verdict.columns, key=lambda found: (not found.drifted, -abs(found.effect))):
        p_value = "" if found.p_value is None else f"{found.p_value:.2g}"
        drifted = "yes" if found.drifted else ""
        lines.append(
            f"| {found.column} | {found.kind.replace('_', ' ')} | {found.effect:.3f} | {p_value} | {drifted} |"
        )
    return "\n".join(lines) + "\n"


def _judge_model(given: Verdict, policy: Drift, history: Sequence[Verdict]) -> Verdict:
    """Decide on the model once the data are known to be sound."""
    drifted = _drift(given.columns)
    if given.labelled < policy.min_rows:
        late = f"{given.labelled} of {given.rows} labels have arrived; the model's loss needs {policy.min_rows}."
        return _decide(given, "investigate" if drifted else "wait", *drifted, late)
    given = msgspec.structs.replace(given, worse=_is_worse(given.numbers, policy))
    if given.worse:
        decision, why = _persistence(given, policy, history)
        return _decide(given, decision, _loss(given.numbers, "is worse than on its holdout"), why, *drifted)
    fine = _loss(given.numbers, "is not materially worse than on its holdout")
    return _decide(given, "investigate" if drifted else "ok", *drifted, fine)


def _persistence(given: Verdict, policy: Drift, history: Sequence[Verdict]) -> tuple[Decision, str]:
    """Retrain when enough recent windows of this version agree and the last retraining is long enough ago."""
    same = [*(past for past in history if past.version == given.version), given][-policy.of :]
    worse = sum(past.worse for past in same)
    count = f"{worse} of the last {len(same)} windows of version {given.version} {'is' if worse == 1 else 'are'} worse"
    if worse < policy.agree:
        return "investigate", f"{count}; a retraining needs {policy.agree} of {policy.of}."
    recent = list(history)[max(0, len(history) - policy.cooldown_windows) :]
    if any(past.verdict == "retrain" for past in recent):
        return "investigate", f"{count}, but a retraining was asked for within {policy.cooldown_windows} windows."
    return "retrain", f"{count}: retrain."


def _labelled(labels: pd.Series | None, probabilities: Floats, schema: Schema) -> np.ndarray:
    """Return which rows can be measured: a known label and finite probabilities."""
    if labels is None or not len(labels):
        return np.zeros(len(probabilities), dtype=bool)
    return np.asarray(labels.isin(schema.target.classes)) & np.isfinite(probabilities).all(axis=1)


def _numbers(
    reference: Reference, probabilities: Floats, labels: pd.Series | None, known: np.ndarray, schema: Schema
) -> dict[str, float | None]:
    """Measure the labelled rows beside the holdout; z is Welch's, of the excess loss."""
    holdout = reference.holdout
    numbers: dict[str, float | None] = dict.fromkeys(("log_loss", "expected_loss", "excess_loss"))
    numbers["reference_excess_loss"] = holdout.excess_loss.mean
    numbers |= {"z": None, "accuracy": None, "reference_accuracy": holdout.accuracy}
    numbers |= {"auc": None, "reference_auc": holdout.roc_auc, "reference_log_loss": holdout.log_loss.mean}
    if labels is None or not known.any():
        return numbers
    truth, answers = labels[known].reset_index(drop=True), probabilities[known]
    observed, expected = losses(truth, answers, schema.target.classes), expected_losses(answers)
    metrics, excess = evaluate(truth, answers, schema.target.classes), moments(observed - expected)
    error = holdout.excess_loss.variance / holdout.excess_loss.rows + excess.variance / excess.rows
    return numbers | {
        "log_loss": metrics.log_loss,
        "expected_loss": float(expected.mean()),
        "excess_loss": excess.mean,
        # Two samples without spread differ for certain; the bound keeps z a finite number.
        "z": (excess.mean - holdout.excess_loss.mean) / max(error, 1e-12) ** 0.5,
        "accuracy": metrics.accuracy,
        "auc": metrics.roc_auc,
    }


def _is_worse(numbers: dict[str, float | None], policy: Drift) -> bool:
    z, excess, before = numbers["z"], numbers["excess_loss"], numbers["reference_excess_loss"]
    if z is None or excess is None or before is None:
        return False
    return z > NormalDist().inv_cdf(1 - LOSS_LEVEL) and excess - before > policy.max_excess_loss


def _drift(columns: Sequence[Finding]) -> list[str]:
    """Say in one sentence which inputs differ from training, the most different first."""
    drifted = sorted((found for found in columns if found.drifted), key=lambda found: -abs(found.effect))
    names = list(dict.fromkeys(found.column for found in drifted))
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"Not as in training: {', '.join(names[:NAMED])}{more}. That alone is no reason to retrain."]


def _loss(numbers: dict[str, float | None], judged: str) -> str:
    return (
        f"The model {judged}: log loss {_number(numbers['log_loss'])} where its own probabilities expect"
        f" {_number(numbers['expected_loss'])}; that gap is {_number(numbers['excess_loss'])} now and was"
        f" {_number(numbers['reference_excess_loss'])} then."
    )


def _incident(finding: Finding) -> str:
    text = INCIDENT_TEXTS[finding.kind].format(effect=finding.effect, statistic=finding.statistic)
    return f"Column {finding.column}: {text}."


def _decide(given: Verdict, decision: Decision, *reasons: str) -> Verdict:
    return msgspec.structs.replace(given, verdict=decision, reasons=reasons)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
