"""Estimates without labels come true where the model's probabilities are, and say when rows are harder."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss

from mlops.core.arrays import Floats
from mlops.core.estimate import estimated, harder
from mlops.core.profile import Holdout, reference
from mlops.core.schema import Column, Schema, Target

SCHEMA = Schema((Column("x", "number"),), Target("late", ("0", "1")))


def rows(count: int, seed: int, scale: float = 3.0, sharp: float = 1.0) -> tuple[Floats, pd.Series]:
    """Answers and labels; the model is surer than it should be by a factor on its logits."""
    random = np.random.default_rng(seed)
    logit = scale * random.normal(size=count)
    true, said = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(-sharp * logit))
    return np.column_stack([1 - said, said]), pd.Series(np.where(random.random(count) < true, "1", "0"))


def holdout(seed: int, sharp: float = 1.0) -> Holdout:
    said, labels = rows(20_000, seed, sharp=sharp)
    found = reference(pd.DataFrame({"x": said[:, 1]}), SCHEMA, labels, said).holdout
    assert found is not None
    return found


@pytest.mark.parametrize("sharp", [1.0, 1.5])
@pytest.mark.parametrize("scale", [3.0, 1.0])
def test_estimates_come_true(scale: float, sharp: float) -> None:
    said, labels = rows(20_000, 1, scale, sharp)
    found = estimated(holdout(2, sharp), said)
    right = accuracy_score(labels, np.where(said[:, 1] > 0.5, "1", "0"))
    # How far a model is too sure on harder rows is not what it was on the holdout's.
    room = 0.012 if sharp == 1.0 else 0.06
    assert found["accuracy"] == pytest.approx(right, abs=room)
    assert found["log_loss"] == pytest.approx(log_loss(labels, said[:, 1]), abs=2 * room)


def test_estimates_stay_within_what_is_possible() -> None:
    sure = np.tile([0.0, 1.0], (50, 1))
    found = estimated(holdout(3, sharp=0.3), sure)
    assert found["accuracy"] == 1.0
    assert found["log_loss"] >= 0.0


def test_answers_that_are_no_numbers_are_left_out() -> None:
    said, _ = rows(500, 4)
    known = holdout(5)
    with_gaps = np.vstack([said, [[np.nan, np.nan], [np.inf, 0.0]]])
    assert estimated(known, with_gaps) == estimated(known, said)
    assert estimated(known, np.full((3, 2), np.nan)) == {}
    assert estimated(known, np.empty((0, 2))) == {}


def test_harder_rows_are_told_and_others_are_not() -> None:
    known = holdout(6)
    easy, hard = estimated(known, rows(2000, 7)[0]), estimated(known, rows(2000, 8, scale=0.5)[0])
    assert harder(known, easy) is None
    assert harder(known, {}) is None
    said = str(harder(known, hard))
    assert f"{hard['accuracy']:.0%}" in said
    assert "estimate" in said
