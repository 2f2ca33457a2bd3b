"""The champion's and a shadow's answers, joined by request."""

import pandas as pd

from mlops.core.comparison import compare_answers
from mlops.core.schema import Column, Schema, Target

SCHEMA = Schema((Column("x", "number"), Column("c", "category")), Target("y", ("0", "1")))


def row(request: str, role: str, version: str, predicted: str, first: float) -> dict[str, object]:
    return {"_request_id": request, "_role": role, "_version": version, "_predicted": predicted,
            "_probabilities": [first, 1 - first], "x": 1.5, "c": None}  # fmt: skip


def test_the_most_different_requests_come_first() -> None:
    log = pd.DataFrame(
        [
            row("a", "champion", "1", "0", 0.9), row("a", "shadow", "2", "0", 0.8),
            row("b", "champion", "1", "0", 0.9), row("b", "shadow", "2", "1", 0.1),
            row("c", "champion", "1", "0", 0.9),
            row("d", "shadow", "2", "1", 0.0),
            row("e", "champion", "1", "0", 0.9), row("e", "shadow", "3", "1", 0.0),
            row("smoke-f", "champion", "1", "0", 1.0), row("smoke-f", "shadow", "2", "1", 0.0),
        ]
    )  # fmt: skip
    found = compare_answers(log, SCHEMA, "2")
    assert (found.compared, found.differ) == (2, 1)
    assert [each["request"] for each in found.rows] == ["b", "a"]
    assert found.rows[0] == {"request": "b", "champion": "0", "shadow": "1", "distance": 0.8, "x": "1.5", "c": None}
    assert [each["request"] for each in compare_answers(log, SCHEMA, "2", most=1).rows] == ["b"]


def test_a_log_without_answers_of_both_is_empty() -> None:
    log = pd.DataFrame([row("a", "champion", "1", "0", 0.9)])
    assert compare_answers(log, SCHEMA, "2").compared == 0
    assert compare_answers(log.iloc[:0], SCHEMA, "2").rows == ()
