"""Windows together: what each alone leaves open, all of them may show; one bad window does not last."""

from collections.abc import Sequence

import numpy as np
import pytest

from mlops.core import rivals
from mlops.core.lasting import tallied, together
from mlops.core.performance import Measured, measures
from mlops.core.slices import Slices
from mlops.core.verdict import Verdict, markdown
from tests.core.test_verdict import POLICY, REFERENCE, given, sample

NONE = Slices({}, {})


def judged(flips: Sequence[float], rows: int = 300, seed: int = 0) -> list[Verdict]:
    """Verdicts of consecutive windows with these shares of flipped labels."""
    history: list[Verdict] = []
    for number, flip in enumerate(flips):
        history.append(given(sample(rows, seed=100 * seed + number + 11, flip=flip), tuple(history)))
    return history


def test_a_loss_that_no_window_shows_alone_is_retrained_for_when_it_lasts() -> None:
    history = judged([0.0, 0.06, 0.06, 0.06, 0.06], rows=200, seed=1)
    assert [each.verdict for each in history] == ["ok"] * 4 + ["retrain"]
    last = history[-1]
    assert (last.worse, last.lasting) == (False, 3)
    assert "0 of the last 3 windows of version 2 are worse alone, but the last 3 together are" in last.reasons[1]
    assert any("Over the last 3 windows, the worst left out, its losses are above" in each for each in last.reasons)
    assert rivals.beginning(history, POLICY.of) == 2
    assert "Over the last 3 windows" in markdown(last, "flights")


def test_one_very_bad_window_does_not_last() -> None:
    history = judged([0.0, 0.3, 0.0])
    assert [each.verdict for each in history] == ["ok", "investigate", "ok"]
    assert [each.worse for each in history] == [False, True, False]
    (loss,) = (found for found in history[-1].performance if found.windows == 3 and found.kind == "loss")
    assert not loss.drifted
    assert loss.effect < 0.02


def test_windows_of_another_version_do_not_count() -> None:
    history = judged([0.05, 0.05])
    other = given(sample(300, seed=13, flip=0.05), tuple(history), version="3")
    assert all(found.windows == 1 for found in other.performance)
    assert other.lasting == 0


def test_unchanged_windows_hardly_ever_look_worse_together() -> None:
    found = [each for seed in range(1, 9) for each in judged([0.0] * 12, rows=200, seed=seed)]
    assert not any(each.lasting for each in found)
    assert sum(each.verdict != "ok" for each in found) <= 2


@pytest.mark.parametrize("days", [0, 5])
def test_tallies_are_all_that_a_window_must_keep(days: int) -> None:
    """The tallies of three windows give what one tally of all their rows gives, but for their days."""
    random = np.random.default_rng(1)
    answers = random.dirichlet([2, 2], 900)
    values = measures((random.random(900) < answers[:, 1]).astype(np.int64), answers)

    def tally(first: int, rows: int) -> tuple[object, ...]:
        clusters = np.arange(rows) % days if days else None
        return tallied(Measured(values[first : first + rows], answers, NONE, np.arange(rows), clusters))

    holdout = REFERENCE.holdout
    assert holdout is not None
    parts = [tally(first, 300) for first in (0, 300, 600)]
    found = together(holdout, parts, 0, "late", 0.01)  # type: ignore[arg-type]
    assert [(each.kind, each.windows) for each in found] == [("loss", 3), ("surprise", 3)]
    before = holdout.measures
    for each, column in zip(found, (0, 2), strict=True):
        assert each.effect == pytest.approx(values[:, column].mean() - before[column].mean)
    if not days:
        whole = values[:, 0]
        spread = max(before[0].variance, whole.var()) / before[0].rows + whole.var() / 900
        z = (whole.mean() - before[0].mean) / spread**0.5
        from statistics import NormalDist

        assert found[0].p_value == pytest.approx(NormalDist().cdf(-z), rel=0.02)
    assert together(holdout, parts[:2], 1, "late", 0.01) == ()  # type: ignore[arg-type]
