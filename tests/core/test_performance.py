"""Tests of labels against formulas of others: scikit-learn, SciPy, statsmodels, and exact distributions."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from sklearn.metrics import log_loss

from mlops.core.arrays import Floats
from mlops.core.columns import chosen
from mlops.core.findings import Finding
from mlops.core.performance import (
    Budget,
    Measured,
    compare_labels,
    days,
    design_effect,
    measures,
    truth_codes,
)
from mlops.core.profile import Reference, reference
from mlops.core.schema import Column, Schema, Target
from mlops.core.slices import Slices

TWO = Schema((Column("x", "number"), Column("at", "time")), Target("late", ("no", "yes")))
THREE = Schema((Column("x", "number"),), Target("kind", ("a", "b", "c")))
BUDGET = Budget(*[0.001] * len(Budget._fields))


def answers(rows: int, classes: int, seed: int, sharp: float = 1.0) -> Floats:
    """Probabilities from one half sure to nearly sure."""
    found = np.random.default_rng(seed).dirichlet(np.full(classes, 1.0), rows) ** sharp
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def drawn(probabilities: Floats, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """True classes by those probabilities."""
    cut = np.random.default_rng(seed).random((len(probabilities), 1))
    return np.asarray((probabilities.cumsum(axis=1) < cut).sum(axis=1).clip(max=probabilities.shape[1] - 1))


def trained(probabilities: Floats, truth: np.ndarray[tuple[int], np.dtype[np.int64]], schema: Schema) -> Reference:
    labels = pd.Series([schema.target.classes[each] for each in truth], dtype="str")
    inputs = pd.DataFrame({"x": np.random.default_rng(9).normal(size=len(truth))})
    return reference(inputs, schema, labels, probabilities, holdout=inputs)


def compared(
    known: Reference, probabilities: Floats, truth: np.ndarray[tuple[int], np.dtype[np.int64]], schema: Schema
) -> dict[tuple[str, str], Finding]:
    assert known.holdout is not None
    inputs = pd.DataFrame({"x": np.random.default_rng(8).normal(size=len(truth))})
    some = chosen(len(truth), 10**6)
    measured = Measured(measures(truth, probabilities), probabilities, Slices.of(known.columns, inputs), some, None)
    found, _ = compare_labels(known.holdout, measured, schema, BUDGET)
    return {(each.kind, each.column): each for each in found if not each.slice}


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_measures_are_what_was_observed_less_what_was_expected(classes: int) -> None:
    said, rows = answers(500, classes, 1), np.arange(500)
    truth = drawn(said, 2)
    found = measures(truth, said)
    assert found.shape == (500, 3 + (1 if classes == 2 else classes))
    loss = log_loss(np.eye(classes)[truth], said)
    assert found[:, 0].mean() == pytest.approx(loss - stats.entropy(said, axis=1).mean())
    assert found[:, 1].mean() == pytest.approx(said.max(axis=1).mean() - (said.argmax(axis=1) == truth).mean())
    ratio = np.log((0.9 * said + 0.1 / classes) / said)
    assert found[:, 2] == pytest.approx(ratio[rows, truth] - (said * ratio).sum(axis=1))
    residuals = np.eye(classes)[truth] - said
    assert found[:, 3:] == pytest.approx(residuals[:, 1:] if classes == 2 else residuals)


@pytest.mark.parametrize("classes", [2, 3])
def test_each_measure_expects_nothing_of_every_row(classes: int) -> None:
    said = answers(50, classes, 3)
    every = [measures(np.full(50, code), said) for code in range(classes)]
    expected = sum(said[:, [code]] * found for code, found in enumerate(every))
    assert expected == pytest.approx(np.zeros_like(expected), abs=1e-12)


def test_answers_that_are_certain_and_wrong_are_finite() -> None:
    found = measures(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert np.isfinite(found).all()
    assert found[0, 0] > 10
    assert found[1, 0] == pytest.approx(0, abs=1e-5)


def test_the_design_effect_is_the_cluster_robust_variance_of_statsmodels() -> None:
    random = np.random.default_rng(4)
    for _ in range(20):
        clusters = random.integers(0, random.integers(3, 30), 400)
        values = random.normal(size=30)[clusters] + random.normal(size=400)
        robust = sm.OLS(values, np.ones(400)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
        independent = values.var() / 400
        assert design_effect(values, clusters) == pytest.approx(
            max(1.0, float(robust.cov_params()[0, 0]) / independent)
        )


def test_no_days_no_spread_and_one_row_have_no_design_effect() -> None:
    assert design_effect(np.arange(9.0), None) == 1.0
    assert design_effect(np.ones(9), np.arange(9) // 3) == 1.0
    assert design_effect(np.ones(1), np.zeros(1, dtype=np.int64)) == 1.0


def test_days_are_those_of_the_clock_and_too_few_tell_nothing() -> None:
    times = pd.to_datetime(["2026-01-01T23:59Z", "2026-01-02T00:00Z", "2026-01-02T09:00Z", "2026-01-04T00:00Z", None])
    found = days(pd.DataFrame({"at": times}), TWO)
    assert found is not None
    assert found.tolist() == [0, 1, 1, 2, -1]
    assert days(pd.DataFrame({"at": times[:3]}), TWO) is None
    assert days(pd.DataFrame({"x": [1.0]}), TWO) is None
    assert days(None, TWO) is None


def test_labels_are_numbered_by_the_order_of_the_classes() -> None:
    assert truth_codes(pd.Series(["yes", "no", "yes"]), TWO).tolist() == [1, 0, 1]


def test_the_test_of_the_loss_is_welchs_upper_tail() -> None:
    before, now = answers(4000, 2, 5), answers(900, 2, 6)
    truth, seen = drawn(before, 7), drawn(now, 8)
    seen[:60] = 1 - seen[:60]
    known = trained(before, truth, TWO)
    found = compared(known, now, seen, TWO)[("loss", "late")]
    ours, theirs = measures(seen, now)[:, 0], measures(truth, before)[:, 0]
    assert found.effect == pytest.approx(ours.mean() - theirs.mean())
    # The holdout's variance counts as at least the window's: never more certain than Welch.
    welch = stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater").pvalue
    error = max(ours.var(ddof=1), theirs.var(ddof=1)) / 4000 + ours.var(ddof=1) / 900
    assert found.p_value == pytest.approx(stats.norm.sf(found.effect / error**0.5))
    assert found.p_value is not None
    assert found.p_value >= 0.99 * stats.norm.sf(stats.norm.isf(welch))


def test_residuals_of_rare_classes_hold_their_level() -> None:
    """Against the exact distribution: a sum of coins that are known, skewed by their rarity."""
    said = np.full((600, 2), 0.985)
    said[:, 1] = 0.015
    before = np.tile(said, (20, 1))
    known = trained(before, drawn(before, 10), TWO)
    assert known.holdout is not None
    usual = known.holdout.measures[3].mean
    alarms = 0.0
    for hits in range(40):
        truth = (np.arange(600) < hits).astype(np.int64)
        p_value = compared(known, said, truth, TWO)[("residual", "yes")].p_value
        assert p_value is not None
        alarms += stats.binom.pmf(hits, 600, 0.015 + usual) * (p_value < 0.01)
    assert 0.001 < alarms < 0.02


def test_the_order_of_rows_does_not_matter() -> None:
    before, now = answers(2000, 3, 11), answers(500, 3, 12)
    known, seen, order = (
        trained(before, drawn(before, 13), THREE),
        drawn(now, 14),
        np.random.default_rng(0).permutation(500),
    )
    one, other = compared(known, now, seen, THREE), compared(known, now[order], seen[order], THREE)
    assert one.keys() == other.keys() == {
        ("loss", "kind"), ("accuracy", "kind"), ("surprise", "kind"),
        ("residual", "a"), ("residual", "b"), ("residual", "c"),
    }  # fmt: skip
    for key, found in one.items():
        assert found.effect == pytest.approx(other[key].effect)
        assert found.p_value == pytest.approx(other[key].p_value)


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("only", [0, 1])
def test_few_rows_of_one_class_give_finite_numbers(rows: int, only: int) -> None:
    before = answers(300, 2, 15)
    found = compared(trained(before, drawn(before, 16), TWO), answers(rows, 2, 17), np.full(rows, only), TWO)
    for each in found.values():
        assert np.isfinite([each.effect, each.statistic]).all()
        assert each.p_value is not None
        assert 0.0 <= each.p_value <= 1.0


def test_a_true_model_seldom_alarms_and_one_with_a_moved_prior_often() -> None:
    before = answers(5000, 2, 18)
    known = trained(before, drawn(before, 19), TWO)
    calm = moved = 0
    for seed in range(100):
        now = answers(1000, 2, 100 + seed)
        logit = np.log(now[:, 1] / now[:, 0]) + 0.5
        truth = (np.random.default_rng(seed).random(1000) < 1 / (1 + np.exp(-logit))).astype(np.int64)
        calm += any(found.drifted for found in compared(known, now, drawn(now, 200 + seed), TWO).values())
        moved += compared(known, now, truth, TWO)[("residual", "yes")].drifted
    assert calm <= 4
    assert moved >= 95
