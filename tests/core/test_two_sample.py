"""The statistics equal those of scipy, or of permutations where scipy has none."""

import numpy as np
import pytest
from scipy import stats

from mlops.core.two_sample import rank_scores, rates


@pytest.mark.parametrize(
    ("before", "before_rows", "now", "rows"),
    [(0, 500, 3, 100), (20, 1000, 70, 1000), (5, 50_000, 2, 100), (9, 9, 1, 9)],
)
def test_shares_are_compared_by_fishers_exact_test(before: int, before_rows: int, now: int, rows: int) -> None:
    change, p_value = rates(before, before_rows, now, rows)
    table = [[now, rows - now], [before, before_rows - before]]
    tails = [stats.fisher_exact(table, alternative).pvalue for alternative in ("less", "greater")]
    assert p_value == pytest.approx(min(1.0, 2 * min(tails)))
    assert change == pytest.approx(now / rows - before / before_rows)


def test_many_rows_are_compared_as_proportions() -> None:
    _, p_value = rates(100_000, 1_000_000, 101_000, 1_000_000)
    table = np.array([[100_000, 900_000], [101_000, 899_000]])
    assert p_value == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)


@pytest.mark.parametrize("counts", [(0, 0), (50, 50)])
def test_shares_that_cannot_differ_do_not(counts: tuple[int, int]) -> None:
    assert rates(counts[0], 50, counts[1], 50) == (0.0, 1.0)


def test_no_rows_have_no_share() -> None:
    assert rates(0, 0, 3, 5) == (0.0, 1.0)


def test_rank_scores_measure_mean_and_variance() -> None:
    random = np.random.default_rng(0)
    before, now = random.normal(size=20_000), random.normal(0.5, 1.5**0.5, size=20_000)
    edges = np.quantile(before, np.linspace(0, 1, 511))
    old, new = (np.bincount(np.searchsorted(edges, values), minlength=512) for values in (before, now - 0.5))
    location, scale = rank_scores(old, new)
    assert scale.effect == pytest.approx(0.4, abs=0.1)  # of pooled scores, a little under the ratio less one
    assert scale.p_value < 1e-20
    assert location.p_value > 1e-3
    location, _ = rank_scores(old, np.bincount(np.searchsorted(edges, now), minlength=512))
    assert location.effect == pytest.approx(0.45, abs=0.06)


def test_p_values_of_rank_scores_are_uniform_with_ties_and_unequal_sizes() -> None:
    random = np.random.default_rng(1)
    pairs = [
        rank_scores(np.bincount(random.poisson(2, 300), minlength=15), np.bincount(random.poisson(2, 80), minlength=15))
        for _ in range(1000)
    ]
    for found in zip(*pairs, strict=True):
        low = sum(score.p_value < 0.05 for score in found)
        assert stats.binom.cdf(low, 1000, 0.05) > 1e-4
        assert stats.binom.sf(low, 1000, 0.065) > 1e-4


def test_rank_scores_of_no_rows_find_nothing() -> None:
    location, scale = rank_scores(np.array([3, 4]), np.array([0, 0]))
    assert (location, scale) == ((0.0, 1.0), (0.0, 1.0))
