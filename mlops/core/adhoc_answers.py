"""Probabilities for two tables that have none: what predicted labels meant, or a model fitted on the reference.

With labels and predicted labels it is the share of each class among the reference's rows of that
prediction; with labels alone, the answers of a model that is fitted on a part of the reference.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from mlops.core import training
from mlops.core.arrays import Floats
from mlops.core.drift import Reference, reference
from mlops.core.quality import FileError
from mlops.core.schema import Schema, Target
from mlops.core.sentences import plain
from mlops.spec import Candidate, ModelSpec, Split, Training

REFERENCE = "reference"
"""What stands for a model's version in the reasons."""
SMOOTHING = 1.0
"""Rows added to each cell of predictions by labels, so that none is impossible (Laplace)."""
HELD_OUT = 0.4
"""Share of the reference that the model is not fitted on."""


@dataclass(frozen=True)
class Rows:
    """Rows that could be read, their labels and predictions, and a sentence for each column of what could not."""

    name: str
    frame: DataFrame
    labels: Series | None
    predictions: Series | None
    """Stripped text, by its position in the file."""
    broken: tuple[str, ...]


def answers(
    known: Rows, found: Rows, schema: Schema, prediction: str | None, least: int, spec: ModelSpec | None
) -> tuple[Reference, Floats | None, list[str]]:
    """Profile the reference; return it, probabilities for the current rows, and what is wrong with their predictions.

    Args:
        known: the reference's rows.
        found: the current rows.
        schema: columns and classes.
        prediction: the column of predictions, for messages.
        least: labelled rows that the reference needs to be compared with.
        spec: names the model that is fitted where there are no predictions; none: histogram gradient boosting.

    Raises:
        FileError: the reference has too few labels, a prediction of it is none, or no model can be fitted on it.
    """
    if known.labels is None:
        return reference(known.frame, schema), None, []
    labelled = known.labels.notna().to_numpy()
    fits = known.predictions is None or found.predictions is None
    held_out = spec.training.split.test if spec else HELD_OUT
    needed = math.ceil(least / held_out) if fits else least
    if labelled.sum() < needed:
        what = "to fit and to test a model on" if fits else "to compare with"
        raise FileError(known.name, f"{int(labelled.sum())} rows have a label, {needed} are needed {what}")
    if known.predictions is None or found.predictions is None:
        return *_fitted(known, found.frame, schema, spec), []
    labels, predictions = known.labels[labelled].reset_index(drop=True), known.predictions[labelled]
    meaning = _meaning(predictions, labels, list(schema.target.classes))
    before, wrong = _predicted(predictions, meaning, schema.target, str(prediction))
    if wrong:
        raise FileError(known.name, wrong[0])
    now, wrong = _predicted(found.predictions, meaning, schema.target, str(prediction))
    held = known.frame[labelled].reset_index(drop=True)
    sentences = [f"In {each}; mend its source." for each in wrong]
    return reference(known.frame, schema, labels, before, holdout=held), now, sentences


def _meaning(predictions: Series, labels: Series, classes: list[str]) -> Floats | None:
    """The share of each class among the rows of each prediction; none when the predictions are no classes."""
    codes = _codes(predictions, classes)
    if (codes < 0).any():
        return None
    counts = np.full((len(classes), len(classes)), SMOOTHING)
    np.add.at(counts, (codes, _codes(labels, classes)), 1.0)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _predicted(predictions: Series, meaning: Floats | None, target: Target, column: str) -> tuple[Floats, list[str]]:
    """Turn predictions into probabilities: labels into what they meant in the reference, numbers as they are.

    Returns:
        [rows, classes], not a number where a prediction is no class or, where the reference has none, no
        probability; and then the end of a sentence that names the first such row.
    """
    what = f"is none of the classes {', '.join(target.classes)}"
    if meaning is not None:
        codes = _codes(predictions, list(target.classes))
        found = np.where(codes[:, None] < 0, np.nan, meaning[codes])
    else:
        second = pd.to_numeric(predictions, errors="coerce").to_numpy(np.float64)
        if len(target.classes) == 2:
            what += ", nor a probability of the second one"
        else:
            second = np.full(len(second), np.nan)
        second = np.where((second >= 0) & (second <= 1), second, np.nan)
        found = np.column_stack([1 - second, second])
    wrong = np.isnan(found).any(axis=1)
    if not wrong.any():
        return found, []
    row, value = int(str(predictions.index[int(wrong.argmax())])) + 1, str(predictions.iloc[int(wrong.argmax())])
    said = f"{plain(value)!r} {what}" if value else "there is no prediction"
    return found, [f"row {row}, column {column!r}: {said} ({int(wrong.sum())} such rows)"]


def _codes(values: Series, classes: list[str]) -> NDArray[np.int64]:
    """Number labels by class, also ``1.0`` for ``1``; -1 for what is none."""
    by_text = {name: code for code, name in enumerate(classes)}
    numbers = pd.to_numeric(Series(classes, dtype=object), errors="coerce")
    by_number = {value: code for code, value in enumerate(numbers) if value == value}
    found = values.map(by_text).astype("float64")
    other = pd.to_numeric(values, errors="coerce").map(by_number)
    return np.asarray(found.fillna(other).fillna(-1), dtype=np.int64)


def _fitted(known: Rows, current: DataFrame, schema: Schema, spec: ModelSpec | None) -> tuple[Reference, Floats]:
    """Fit a model on a part of the reference, so that its loss on current labels tells whether their meaning moved."""
    spec = spec or _spec(schema)
    labels = Series(known.labels, name=schema.target.name)
    labelled = pd.concat([known.frame, labels], axis=1)[labels.notna()]
    try:
        train, holdout = training.split(labelled.reset_index(drop=True), spec)
        estimator = training.fit(spec.training.candidates[0], spec, train)
    except training.TrainingError as error:
        raise FileError(
            known.name, f"no model can be fitted on it: {error}; name predictions, or leave --target away"
        ) from error
    probabilities = training.probabilities(estimator, holdout, schema)
    profile = reference(
        train[[c.name for c in schema.columns]], schema, holdout[schema.target.name], probabilities, holdout=holdout
    )
    # A column that is absent is an incident; the model needs one nevertheless.
    absent = {c.name: np.nan if c.type != "category" else None for c in schema.features if c.name not in current}
    return profile, training.probabilities(estimator, current.assign(**absent), schema)


def _spec(schema: Schema) -> ModelSpec:
    return ModelSpec(
        name="inferred",
        description="Inferred from the reference.",
        data=schema,
        training=Training(
            metric="log_loss",
            split=Split(method="random", test=HELD_OUT),
            candidates=(Candidate(name="boosting", estimator="hist_gradient_boosting"),),
        ),
    )
