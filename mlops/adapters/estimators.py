"""Fitted estimators as joblib pickles, for models that have no ONNX form.

A pickle runs code when it is loaded: load only what a bundle's digest vouches for.
"""

import io
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from mlops.core.schema import Schema

Estimate = Callable[[Iterable[Iterable[object]]], NDArray[np.float64]]


class EstimatorError(Exception):
    """An estimator has no finite answer for these rows."""


def load_estimator(data: bytes, schema: Schema) -> Estimate:
    """Load an estimator; what is returned maps rows in schema order to probabilities [rows, classes].

    It raises ``EstimatorError`` where the estimator has no finite answer.
    """
    import joblib
    import pandas as pd

    from mlops.core.training import TrainingError, probabilities

    estimator = joblib.load(io.BytesIO(data))
    names = [column.name for column in schema.columns]
    numbers = {column.name: "float64" for column in schema.columns if column.type in ("number", "integer")}

    def estimate(rows: Iterable[Iterable[object]]) -> NDArray[np.float64]:
        frame = pd.DataFrame([list(row) for row in rows], columns=names).astype(numbers)
        try:
            return probabilities(estimator, frame, schema)
        except TrainingError as error:
            raise EstimatorError(str(error)) from None

    return estimate
