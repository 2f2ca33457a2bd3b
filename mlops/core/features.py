"""Features: what an estimator sees of a typed frame, in the pipeline and through ONNX."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame

from mlops.core.schema import Schema

MATRIX = "features"
"""Name of the one ONNX input of the layout ``matrix``."""


def layout(schema: Schema) -> Literal["matrix", "columns"]:
    """Name the ONNX inputs of a model: one float matrix, or one tensor a column when some are text."""
    return "columns" if schema.categories else "matrix"


def features(frame: DataFrame, schema: Schema) -> DataFrame:
    """Select what the pipeline sees: numbers float32 (missing NaN), categories text (missing ``""``)."""
    return DataFrame(
        {
            c.name: frame[c.name].astype("str").where(frame[c.name].notna(), "")
            if c.type == "category"
            else frame[c.name].astype("float32")
            for c in schema.features
        },
        index=frame.index,
    )


def onnx_inputs(frame: DataFrame, schema: Schema) -> dict[str, NDArray[Any]]:
    """Build the ONNX inputs of typed rows.

    Layout ``matrix``: ``features`` float32 [rows, features]. Layout ``columns``: one input a
    feature, [rows, 1], float32 for numbers and text for categories.
    """
    seen = features(frame, schema)
    if layout(schema) == "matrix":
        return {MATRIX: seen.to_numpy(np.float32)}
    return {c.name: seen[[c.name]].to_numpy(object if c.type == "category" else np.float32) for c in schema.features}
