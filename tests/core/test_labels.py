"""Labels find their predictions by request id; tests and shadows are no answers."""

import pandas as pd

from mlops.core.labels import answered, labelled_rows, with_labels
from mlops.core.schema import Column, Schema, Target

SCHEMA = Schema(columns=(Column("x", "number"),), target=Target("y", ("a", "b")))


def predictions(**roles: str) -> pd.DataFrame:
    ids = list(roles)
    times = pd.date_range("2026-02-01", periods=len(ids), tz="UTC")
    return pd.DataFrame({"_request_id": ids, "_time": times, "_role": list(roles.values()), "x": range(len(ids))})


def feedback(*labels: tuple[str, str]) -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=len(labels), tz="UTC")
    ids, values = zip(*labels, strict=True)
    return pd.DataFrame({"_request_id": ids, "_time": times, "_label": values})


def test_shadow_rows_and_smoke_tests_are_no_answers() -> None:
    rows = pd.DataFrame(
        {"_request_id": ["r1", "r1", "smoke-1", "r2"], "_role": ["champion", "shadow", "champion", "canary"]}
    )
    assert answered(rows)["_request_id"].tolist() == ["r1", "r2"]


def test_the_last_label_of_a_request_counts() -> None:
    joined = with_labels(predictions(r1="champion", r2="champion"), feedback(("r1", "a"), ("r1", "b")), SCHEMA)
    assert joined["y"].tolist()[0] == "b"
    assert joined["y"].isna().tolist() == [False, True]


def test_training_rows_are_the_labelled_ones() -> None:
    joined = with_labels(
        predictions(r1="champion", r2="champion", r3="champion"), feedback(("r3", "a"), ("stranger", "b")), SCHEMA
    )
    rows = labelled_rows(joined, SCHEMA)
    assert list(rows) == ["_request_id", "_time", "x", "y"]
    assert rows.to_numpy().tolist() == [["r3", pd.Timestamp("2026-02-03", tz="UTC"), 2, "a"]]
