"""Labels that arrive late, joined to the predictions that they belong to by request id."""

import pandas as pd

from mlops.core.schema import Schema
from mlops.core.smoke import REQUEST_PREFIX

REQUEST_ID = "_request_id"
REQUEST_TIME = "_time"
"""When a request was answered; the clock of models without a column of type time."""


def answered(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows that a caller was answered with, each request once; neither shadow rows nor smoke tests."""
    tests = predictions[REQUEST_ID].str.startswith(REQUEST_PREFIX)
    return predictions[(predictions["_role"] != "shadow") & ~tests].drop_duplicates(REQUEST_ID, keep="last")


def with_labels(predictions: pd.DataFrame, feedback: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Answered predictions with their true label under the target's name, missing where none has come.

    Args:
        predictions: rows of the prediction log.
        feedback: rows of the feedback log; of several labels for a request the last one counts.
        schema: names the target.
    """
    latest = feedback.sort_values("_time", kind="stable").drop_duplicates(REQUEST_ID, keep="last")
    labels = latest.set_index(REQUEST_ID)["_label"]
    rows = answered(predictions)
    return rows.assign(**{schema.target.name: rows[REQUEST_ID].map(labels)}).reset_index(drop=True)


def labelled_rows(joined: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Typed training rows of the labelled predictions: request id, request time, columns, target."""
    names = [REQUEST_ID, REQUEST_TIME, *(column.name for column in schema.columns), schema.target.name]
    return joined.loc[joined[schema.target.name].notna(), names].reset_index(drop=True)
