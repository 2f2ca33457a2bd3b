"""The reference that a model is trained with: columns in few numbers, a sample of rows, the holdout's losses."""

import msgspec
import numpy as np
import pandas as pd

from mlops.core.across import row_argmax, row_finite, row_max, row_sum
from mlops.core.arrays import Counts, Floats
from mlops.core.columns import Categories, Numbers, Sample, profile, sample
from mlops.core.evaluation import CLIP, evaluate, losses
from mlops.core.fingerprint import Fingerprint, RowHashes
from mlops.core.schema import Schema
from mlops.core.slices import Slices
from mlops.core.two_sample import Moments, moments

CONFIDENCE_BINS = 20


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """How the model did on rows it was not fitted on; losses in nats a row."""

    rows: int
    log_loss: Moments
    excess_loss: Moments
    accuracy: float
    roc_auc: float | None
    confidence: tuple[int, ...]
    """Histogram of the winning class's probability over [0, 1]."""
    predicted: tuple[int, ...] = ()
    """Rows by predicted class."""
    measures: tuple[Moments, ...] = ()
    """Of each column of ``performance.measures``: excess loss, missing accuracy, surprise, residuals."""
    design_effect: float = 1.0
    """By how much days that differ inflate the variance of a mean (Kish, 1965); 1: rows are independent."""
    days: int = 0
    slices: dict[str, tuple[Moments, ...]] = {}
    """Excess loss by slice of each feature, in the order of ``Slices``."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """``profile.json``: what windows of production are compared with."""

    rows: int
    columns: dict[str, Numbers | Categories]
    holdout: Holdout | None
    """None where there is no model, as when two files are compared."""
    sample: Sample | None = None
    labels: tuple[int, ...] = ()
    """Rows by true class."""
    fingerprint: Fingerprint | None = None


def reference(
    frame: pd.DataFrame,
    schema: Schema,
    labels: pd.Series | None = None,
    probabilities: Floats | None = None,
    *,
    holdout: pd.DataFrame | None = None,
) -> Reference:
    """Profile the training inputs and the holdout's losses.

    Args:
        frame: typed training inputs, one row a record.
        schema: the model's columns and classes.
        labels: the holdout's true classes, as text; none: no model's answers are known.
        probabilities: the model's answers for the holdout [rows, classes].
        holdout: the holdout's typed inputs in the order of its labels: they tell how days and slices differ.

    Raises:
        ValueError: the holdout is empty, a label is none of the classes, or the shapes differ.
    """
    hashes = RowHashes(len(frame))
    columns = {column.name: profile(column, frame[column.name], hashes) for column in schema.features}
    counts = [int((labels == name).sum()) for name in schema.target.classes] if labels is not None else []
    return Reference(
        rows=len(frame),
        columns=columns,
        holdout=None
        if labels is None or probabilities is None
        else _holdout(schema, columns, labels, probabilities, holdout),
        sample=sample(frame, columns),
        labels=tuple(counts),
        fingerprint=hashes.fingerprint(),
    )


def expected_losses(probabilities: Floats) -> Floats:
    """Return the log loss that each row's probabilities expect of themselves: -Σ p ln p, in nats.

    Observed less expected is the excess loss. It is zero on average for a calibrated model whatever
    its inputs, so that harder inputs alone do not look like a worse model.
    """
    clipped = np.clip(probabilities, CLIP, 1.0)
    return -row_sum(clipped * np.log(clipped))


def confidence(probabilities: Floats) -> Counts:
    """Histogram of the winning class's probability."""
    winning = row_max(probabilities)
    counts, _ = np.histogram(winning[np.isfinite(winning)], bins=CONFIDENCE_BINS, range=(0.0, 1.0))
    return np.asarray(counts, dtype=np.int64)


def predicted(probabilities: Floats) -> Counts:
    """Rows by predicted class."""
    finite = row_finite(probabilities)
    known = probabilities if finite.all() else probabilities[finite]
    return np.bincount(row_argmax(known), minlength=probabilities.shape[1])


def _holdout(
    schema: Schema,
    columns: dict[str, Numbers | Categories],
    labels: pd.Series,
    probabilities: Floats,
    inputs: pd.DataFrame | None,
) -> Holdout:
    from mlops.core.performance import days, design_effect, measures, truth_codes

    classes = schema.target.classes
    metrics = evaluate(labels, probabilities, classes)
    observed = losses(labels, probabilities, classes)
    measured = measures(truth_codes(labels, schema), probabilities)
    clusters = days(inputs, schema)
    sliced = {} if inputs is None else Slices.of(columns, inputs).moments(measured[:, 0])
    return Holdout(
        rows=metrics.rows,
        log_loss=moments(observed),
        excess_loss=moments(observed - expected_losses(probabilities)),
        accuracy=metrics.accuracy,
        roc_auc=metrics.roc_auc,
        confidence=tuple(confidence(probabilities).tolist()),
        predicted=tuple(predicted(probabilities).tolist()),
        measures=tuple(moments(measured[:, each]) for each in range(measured.shape[1])),
        design_effect=design_effect(measured[:, 0], clusters),
        days=0 if clusters is None else len(np.unique(clusters)),
        slices=sliced,
    )
