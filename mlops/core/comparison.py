"""What a shadow answered beside what the champion answered, request by request."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from mlops.core.labels import REQUEST_ID
from mlops.core.schema import Schema
from mlops.core.smoke import REQUEST_PREFIX


class Comparison(msgspec.Struct, frozen=True):
    """Requests answered by both; ``rows`` are the most different ones, for a table artifact."""

    compared: int
    differ: int
    rows: tuple[dict[str, Any], ...]


def compare_answers(predictions: pd.DataFrame, schema: Schema, shadow: str, most: int = 20) -> Comparison:
    """Join the champion's answers and a shadow's by request id, and rank them by how far they are apart.

    Args:
        predictions: rows of the prediction log.
        schema: the columns to show.
        shadow: version of the shadow.
        most: how many of the most different requests to return. Distance is the total variation between
            the two probability vectors, from 0 to 1.
    """
    real = predictions[~predictions[REQUEST_ID].str.startswith(REQUEST_PREFIX)]
    ours = real[(real["_role"] == "shadow") & (real["_version"] == shadow)].drop_duplicates(REQUEST_ID, keep="last")
    theirs = real[real["_role"] == "champion"].drop_duplicates(REQUEST_ID, keep="last")
    answers = ours[[REQUEST_ID, "_predicted", "_probabilities"]]
    both = theirs.merge(answers, on=REQUEST_ID, suffixes=("", "_shadow")).reset_index(drop=True)
    if both.empty:
        return Comparison(0, 0, ())
    apart = np.abs(_matrix(both["_probabilities"]) - _matrix(both["_probabilities_shadow"])).sum(axis=1) / 2
    ranked = both.assign(distance=apart).sort_values("distance", ascending=False, kind="stable").head(most)
    differ = int((both["_predicted"] != both["_predicted_shadow"]).sum())
    return Comparison(len(both), differ, tuple(_row(row, schema) for row in ranked.to_dict("records")))


def _matrix(probabilities: Sequence[Any] | pd.Series) -> np.ndarray:
    return np.array([list(each) for each in probabilities], dtype=np.float64)


def _row(row: dict[Any, Any], schema: Schema) -> dict[str, Any]:
    inputs = {column.name: None if pd.isna(row[column.name]) else str(row[column.name]) for column in schema.columns}
    shown = {"champion": row["_predicted"], "shadow": row["_predicted_shadow"], "distance": round(row["distance"], 4)}
    return {"request": row[REQUEST_ID], **shown, **inputs}
