"""The evidence on a window: every test of inputs, predictions and labels, seen against past windows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.core.across import row_argmax, row_finite
from mlops.core.arrays import Floats
from mlops.core.calibration import Past, beyond, recalibrated
from mlops.core.columns import chosen
from mlops.core.drift import COLUMNS_SHARE, EFFECT_FLOOR, JOINT_SHARE, PREDICTIONS_SHARE, compare
from mlops.core.evaluation import evaluate, losses
from mlops.core.findings import ALL_COLUMNS, Finding
from mlops.core.fingerprint import Fingerprint, duplicated, frozen
from mlops.core.lasting import Tally, tallied, together
from mlops.core.performance import Budget, Measured, compare_labels, days, measures, truth_codes
from mlops.core.profile import Holdout, Reference, expected_losses
from mlops.core.schema import Schema
from mlops.core.slices import Slices
from mlops.core.two_sample import chi_squared, moments
from mlops.spec import Drift

if TYPE_CHECKING:
    from mlops.core.verdict import Verdict

INPUTS_SHARE = COLUMNS_SHARE + JOINT_SHARE + PREDICTIONS_SHARE
LABEL_SHARES = Budget(loss=0.08, accuracy=0.04, surprise=0.08, residual=0.12, slices=0.08, together=0.1)
"""Shares of the error budget that the tests of labels spend: together what inputs leave."""
MOST_SLICED = 200_000
"""Most labelled rows that are sliced, and ranked."""


def known_labels(labels: pd.Series | None, probabilities: Floats | None, schema: Schema) -> npt.NDArray[np.bool_]:
    """Return which rows can be measured: a known label and finite probabilities."""
    if labels is None or probabilities is None or not len(labels):
        return np.zeros(0 if labels is None else len(labels), dtype=bool)
    return np.asarray(labels.isin(schema.target.classes)) & row_finite(probabilities)


def span(window: pd.DataFrame, schema: Schema) -> tuple[str, str]:
    """First and last event time of the rows, ISO 8601; empty where there is none."""
    if schema.time is None or schema.time not in window or not len(window):
        return "", ""
    times = pd.to_datetime(window[schema.time], errors="coerce", utc=True).dropna()
    return (times.min().isoformat(), times.max().isoformat()) if len(times) else ("", "")


def loss_numbers(
    holdout: Holdout | None,
    probabilities: Floats | None,
    labels: pd.Series | None,
    known: npt.NDArray[np.bool_],
    schema: Schema,
) -> dict[str, float | None]:
    """Measure the labelled rows beside the holdout; z is Welch's, of the excess loss."""
    numbers: dict[str, float | None] = dict.fromkeys(("log_loss", "expected_loss", "excess_loss"))
    if holdout is None:
        return {}
    numbers["reference_excess_loss"] = holdout.excess_loss.mean
    numbers |= {"z": None, "accuracy": None, "reference_accuracy": holdout.accuracy}
    numbers |= {"auc": None, "reference_auc": holdout.roc_auc, "reference_log_loss": holdout.log_loss.mean}
    if labels is None or probabilities is None or not known.any():
        return numbers
    truth, answers = labels[known].reset_index(drop=True), probabilities[known]
    observed, expected = losses(truth, answers, schema.target.classes), expected_losses(answers)
    excess, some = moments(observed - expected), chosen(len(truth), MOST_SLICED)
    # Ranks are costly; of a large window a choice of rows tells the area under the ROC curve well enough.
    auc = evaluate(truth.iloc[some], answers[some], schema.target.classes).roc_auc
    right = truth_codes(truth, schema) == row_argmax(answers)
    error = holdout.excess_loss.variance / holdout.excess_loss.rows + excess.variance / excess.rows
    return numbers | {
        "log_loss": float(observed.mean()),
        "expected_loss": float(expected.mean()),
        "excess_loss": excess.mean,
        # Two samples without spread differ for certain; the bound keeps z a finite number.
        "z": (excess.mean - holdout.excess_loss.mean) / max(error, 1e-12) ** 0.5,
        "accuracy": float(right.mean()),
        "auc": auc,
    }


def inputs(
    reference: Reference,
    window: pd.DataFrame,
    probabilities: Floats | None,
    schema: Schema,
    policy: Drift,
    version: str,
    history: Sequence["Verdict"],
) -> tuple[tuple[Finding, ...], Fingerprint]:
    """Compare inputs and predictions with the reference, past windows, and rows with rows.

    Past windows of the same version share its reference; those of earlier versions stand in
    until there are enough.
    """
    compared = compare(reference, window, probabilities, schema, policy.false_alarm_rate)
    judged = [past for past in history if past.columns]
    same = [past for past in judged if past.version == version]
    past = [each.columns for each in (same if len(same) >= policy.min_history else judged)]
    level = INPUTS_SHARE * policy.false_alarm_rate
    found = recalibrated(compared.findings, past, level, policy.min_history)
    return (*found, *_repeated(reference, compared.fingerprint, history)), compared.fingerprint


def class_shares(reference: Reference, labels: pd.Series, schema: Schema, policy: Drift) -> tuple[Finding, ...]:
    """Compare the shares of the true classes, where no predictions tell how good a model is."""
    counts = np.array([int((labels == name).sum()) for name in schema.target.classes])
    if not sum(reference.labels) or not counts.sum():
        return ()
    pairs = np.column_stack([reference.labels, counts])
    statistic, variation, p_value = chi_squared(pairs)
    shares = pairs / pairs.sum(axis=0)
    before, now = (dict(zip(schema.target.classes, map(float, side), strict=True)) for side in shares.T)
    drifted = p_value < sum(LABEL_SHARES) * policy.false_alarm_rate and variation >= EFFECT_FLOOR
    return (
        Finding(
            column=schema.target.name, kind="labels", statistic=statistic, effect=variation, p_value=p_value,
            drifted=drifted, before=before if drifted else {}, now=now if drifted else {},
        ),
    )  # fmt: skip


def performance(
    reference: Reference,
    window: pd.DataFrame,
    probabilities: Floats,
    labels: pd.Series,
    known: npt.NDArray[np.bool_],
    schema: Schema,
    policy: Drift,
    version: str,
    history: Sequence["Verdict"],
) -> tuple[tuple[Finding, ...], dict[str, float], tuple[Tally, ...]]:
    """Test the labelled rows against the holdout, then against past windows of any version; return their tally too.

    Alone first, then together with the last windows of this version (``policy.of`` in all). What a version
    lost beyond its own holdout can be compared between versions. Windows on which an earlier version was worse
    are left out: they show how bad a model becomes before it is replaced, not how a sound one varies.
    """
    if reference.holdout is None:
        return (), {}, ()
    places = np.flatnonzero(known)
    answers = probabilities[places]
    values = measures(truth_codes(labels.iloc[places], schema), answers)
    some = chosen(len(places), MOST_SLICED)
    budget = Budget(*(share * policy.false_alarm_rate for share in LABEL_SHARES))
    # Of a large window only the sliced rows and the times are copied.
    slices = Slices.of(reference.columns, window.iloc[places[some]])
    clusters = days(window[[c.name for c in schema.times if c.name in window]].iloc[places], schema)
    measured = Measured(values, answers, slices, some, clusters)
    findings, scores = compare_labels(reference.holdout, measured, schema, budget)
    tally = tallied(measured)
    same = [*(past.tally for past in history if past.version == version and past.tally), tally]
    findings += together(reference.holdout, same[-policy.of :], policy.agree - 1, schema.target.name, budget.together)
    earlier = [past for past in history if past.performance and not (past.worse and past.version != version)]
    whole = recalibrated(
        [found for found in findings if not found.slice],
        [[found for found in past.performance if not found.slice] for past in earlier],
        sum(budget) - budget.slices,
        policy.min_history,
    )
    sliced = tuple(found for found in findings if found.slice)
    judged = _calibrated_slices(sliced, scores["slice_z"], earlier, budget.slices, policy.min_history)
    return (*whole, *judged), scores, tally


def _calibrated_slices(
    sliced: tuple[Finding, ...], worst: float, earlier: Sequence["Verdict"], level: float, least: int
) -> tuple[Finding, ...]:
    """Drop worse slices when past windows had slices that stood out as much."""
    if not sliced:
        return ()
    past = [
        Past(value, any(found.slice and found.calibrated for found in each.performance))
        for each in earlier
        if (value := each.numbers.get("slice_z")) is not None
    ]
    far = beyond(worst, past, level, least)
    if far is None:
        return sliced
    return tuple(msgspec.structs.replace(found, calibrated=True) for found in sliced) if far else ()


def _repeated(reference: Reference, now: Fingerprint, history: Sequence["Verdict"]) -> list[Finding]:
    """Rows that came before: in the window before, or twice in this one."""
    past = [each.fingerprint for each in history if each.fingerprint is not None]
    found = []
    if (share := frozen(now, past)) is not None:
        found.append(Finding(column=ALL_COLUMNS, kind="frozen", statistic=share, effect=share))
    if (share := duplicated(now, reference.fingerprint, past)) is not None:
        found.append(Finding(column=ALL_COLUMNS, kind="duplicated", statistic=share, effect=share))
    return found
