"""The outcome: helped, harmed or neither, beyond what rows of one day have in common."""

import numpy as np
import pytest

from mlops.core.arrays import Floats
from mlops.core.outcome import Outcome, markdown, measure, reason

CLASSES = ("no", "yes")


def answers(labels: list[str], right: float) -> Floats:
    sure = np.array([label == "yes" for label in labels])
    yes = np.where(sure, right, 1 - right)
    return np.column_stack([1 - yes, yes])


def labels(rows: int, seed: int = 0) -> list[str]:
    return [str(each) for each in np.random.default_rng(seed).choice(CLASSES, rows)]


@pytest.mark.parametrize(
    ("placed", "old", "decision"), [(0.8, 0.6, "helped"), (0.6, 0.8, "harmed"), (0.7, 0.7, "no difference")]
)
def test_the_better_model_is_told(placed: float, old: float, decision: str) -> None:
    truth = labels(400)
    found = measure(truth, answers(truth, placed), answers(truth, old), CLASSES, before=0.9)
    assert found.decision == decision
    assert found.alarm_true == (decision == "helped")
    assert found.after == pytest.approx(-np.log(placed))
    assert found.without == pytest.approx(-np.log(old))
    assert found.gain == pytest.approx(np.log(placed) - np.log(old))


def test_days_that_favour_one_model_by_turns_are_no_difference() -> None:
    """Row by row the gain of .01 is beyond chance; day by day, where it comes and goes, it is not."""
    truth = ["yes"] * 4000
    day = np.repeat(np.random.default_rng(3).normal(0, 0.1, 20), 200)
    placed, old = (np.column_stack([1 - p, p]) for p in (np.full(4000, 0.7), 0.7 - 0.01 * 0.7 - day * 0.7))
    found = measure(truth, placed, old, CLASSES, before=None)
    gains = np.log(placed[:, 1]) - np.log(old[:, 1])
    by_rows = 1.96 * gains.std() / np.sqrt(4000)
    assert abs(gains.mean()) > by_rows
    assert found.decision == "no difference"


def test_chance_alone_helps_rarely() -> None:
    helped = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        truth = labels(400, seed)
        noise = [np.clip(answers(truth, 0.7) + random.normal(0, 0.05, (400, 1)) * [1, -1], 0.01, 0.99) for _ in "ab"]
        helped += measure(truth, noise[0], noise[1], CLASSES, None).decision != "no difference"
    assert helped / 300 < 0.09


def test_few_rows_decide_nothing() -> None:
    truth = labels(10)
    found = measure(truth, answers(truth, 0.9), answers(truth, 0.5), CLASSES, before=0.5)
    assert (found.decision, found.low, found.high) == ("no difference", None, None)
    assert "too few rows for an interval" in reason(found)


def test_no_rows_are_no_change() -> None:
    found = measure([], np.empty((0, 2)), np.empty((0, 2)), CLASSES, before=0.5)
    assert found == Outcome(decision="nothing changed", rows=0, before=0.5)
    assert "nothing changed" in reason(found)
    assert "–" in markdown(found, "w", [])


def test_the_page_says_it_first_in_words() -> None:
    truth = labels(400)
    page = markdown(
        measure(truth, answers(truth, 0.8), answers(truth, 0.6), CLASSES, 0.9), "flights", [("alarm", "w12")]
    )
    assert page.startswith("# Did it help? flights\n\n**Yes, it helped. The alarm was true.**")
    assert "| alarm | w12 |" in page
    assert "0.5108" in page
