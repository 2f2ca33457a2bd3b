"""Inputs that move together otherwise are found and named, and chance is not."""

import numpy as np
import pandas as pd
from scipy import stats

from mlops.core.columns import Categories, Numbers, profile, row_codes, sample
from mlops.core.fingerprint import RowHashes
from mlops.core.joint import Joint, _permuted, compare_joint
from mlops.core.schema import Column

NAMES = ("a", "b", "c", "town", "size")


def rows(count: int, seed: int, rho: float = 0.2, bound: bool = False) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    numbers = random.standard_normal((count, 3))
    numbers[:, 1] = rho * numbers[:, 0] + (1 - rho**2) ** 0.5 * numbers[:, 1]
    town = random.choice(["Ulm", "Bonn", "Jena"], count)
    size = np.where(bound & (random.random(count) < 0.5), np.where(town == "Ulm", "S", "L"), random.choice(["S", "L"]))
    free = random.choice(["S", "L"], count)
    return pd.DataFrame(
        {
            "a": numbers[:, 0],
            "b": np.exp(numbers[:, 1]),
            "c": numbers[:, 2],
            "town": town,
            "size": size if bound else free,
        }
    )


def compared(before: pd.DataFrame, now: pd.DataFrame) -> Joint | None:
    columns: dict[str, Numbers | Categories] = {}
    for name in before:
        kind = "category" if name in {"town", "size"} else "number"
        columns[str(name)] = profile(Column(str(name), kind), before[name], RowHashes(len(before)))
    return compare_joint(sample(before, columns), columns, row_codes(now, columns), tuple(columns))


def test_a_changed_correlation_is_found_and_named() -> None:
    found = compared(rows(3000, 0), rows(1000, 1, rho=0.5))
    assert found is not None
    assert (found.columns, found.pair_p < 1e-4, found.auc_p < 1e-3) == (("a", "b"), True, True)
    assert (round(found.before, 1), round(found.now, 1)) == (0.2, 0.5)


def test_categories_that_depend_on_each_other_are_found() -> None:
    found = compared(rows(3000, 0), rows(1000, 1, bound=True))
    assert found is not None
    assert (set(found.columns), found.pair_p < 1e-4) == ({"town", "size"}, True)


def test_moved_columns_alone_change_nothing_jointly() -> None:
    now = rows(1000, 1)
    found = compared(rows(3000, 0), now.assign(a=now["a"] + 1, b=now["b"] * 2))
    assert found is not None
    assert min(found.pair_p, found.auc_p) > 0.01


def test_chance_is_not_beyond_chance() -> None:
    found = [compared(rows(500, 2 * seed), rows(200, 2 * seed + 1)) for seed in range(150)]
    for chosen in ([each.pair_p for each in found if each], [each.auc_p for each in found if each]):
        assert stats.binom.sf(sum(p_value < 0.05 for p_value in chosen) - 1, 150, 0.05) > 1e-4


def test_the_moments_are_those_of_permutations() -> None:
    random = np.random.default_rng(1)
    white = random.standard_t(5, size=(100, 10))
    white -= white.mean(axis=0)
    sides = np.r_[np.full(60, -1 / 60), np.full(40, 1 / 40)]
    seen = np.array([((white.T @ random.permutation(sides)) ** 2).sum() for _ in range(4000)])
    mean, spread, _ = _permuted(white, 60, 40)
    assert abs(mean - seen.mean()) < 5 * seen.std() / 4000**0.5
    assert abs(spread / seen.std() - 1) < 0.08


def test_one_column_or_constant_ones_have_no_pairs() -> None:
    before = rows(100, 0)
    assert compared(before[["a"]], before[["a"]]) is None
    assert compared(before.assign(a=1.0)[["a", "c"]], before.assign(a=1.0)[["a", "c"]]) is None
    assert compared(before, before.head(3)) is None
