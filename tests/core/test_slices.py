"""Slices cover every row once, are what pandas would group by, and their sums what it would give."""

import numpy as np
import pandas as pd
import pytest

from mlops.core.columns import Categories, Numbers, profile
from mlops.core.fingerprint import RowHashes
from mlops.core.schema import Column
from mlops.core.slices import MISSING, OTHER, PARTS, Slices

Known = dict[str, Numbers | Categories]


def profiled(frame: pd.DataFrame) -> Known:
    kinds = {name: "number" if frame[name].dtype.kind == "f" else "category" for name in frame}
    return {
        str(name): profile(Column(str(name), kind), frame[name], RowHashes(len(frame)))  # type: ignore[arg-type]
        for name, kind in kinds.items()
    }


def rows(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": random.normal(size=count),
            "count": random.poisson(1.5, count).astype(float),
            "same": 3.0,
            "town": random.choice([f"t{each}" for each in range(14)], count, p=np.arange(14, 0, -1) / 105),
        }
    )
    frame.loc[random.random(count) < 0.1, ["x", "town"]] = np.nan, None
    return frame


TRAIN = rows(3000, 0)
KNOWN = profiled(TRAIN)


def test_sums_are_those_of_pandas() -> None:
    now = rows(700, 1)
    values = np.random.default_rng(2).normal(size=700)
    slices = Slices.of(KNOWN, now)
    for name in KNOWN:
        grouped = pd.Series(values).groupby(slices.codes[name])
        sums, parts = slices.sums(name, values), slices.moments(values)[name]
        assert len(sums.rows) == len(slices.names[name]) == len(parts)
        assert sums.rows.sum() == 700
        for code, part in grouped:
            assert sums.total[int(code)] == pytest.approx(part.sum())  # type: ignore[call-overload]
            one = parts[int(code)]  # type: ignore[call-overload]
            assert (one.rows, one.mean) == (len(part), pytest.approx(part.mean()))
            assert one.variance == pytest.approx(part.var() if len(part) > 1 else 0.0)


def test_a_number_has_tenths_of_the_training_rows() -> None:
    slices = Slices.of(KNOWN, TRAIN)
    shares = np.bincount(slices.codes["x"])[:PARTS] / TRAIN["x"].notna().sum()
    assert shares == pytest.approx(np.full(PARTS, 0.1), abs=0.005)
    cuts = np.nanquantile(TRAIN["x"], np.arange(1, PARTS) / PARTS)
    assert float(slices.names["x"][0].removeprefix("up to ")) == pytest.approx(cuts[0], abs=0.02)
    assert float(slices.names["x"][PARTS - 1].removeprefix("above ")) == pytest.approx(cuts[-1], abs=0.02)
    part = slices.codes["x"] == 4
    assert TRAIN["x"][part].between(cuts[3] - 0.01, cuts[4] + 0.01).all()


def test_ties_make_fewer_parts_and_a_constant_one() -> None:
    slices = Slices.of(KNOWN, TRAIN)
    assert 2 <= len(slices.names["count"]) - 1 <= PARTS
    assert len(set(slices.codes["count"][TRAIN["count"] == 1])) == 1
    assert slices.names["same"] == ("any value", MISSING)


def test_a_category_has_its_common_values_the_rest_and_missing() -> None:
    now = pd.DataFrame({"town": ["t0", "t13", "never seen", None]})
    slices = Slices.of(KNOWN, now)
    assert [slices.names["town"][code] for code in slices.codes["town"]] == ["t0", OTHER, OTHER, MISSING]
    assert len(slices.names["town"]) == PARTS + 2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_and_missing_ones_are_sliced(count: int) -> None:
    now = pd.DataFrame({"x": np.full(count, np.nan), "town": pd.Series([None] * count, dtype=object)})
    slices = Slices.of(KNOWN, now)
    assert set(slices.codes) == {"x", "town"}, "a column that is absent has no slices"
    for name in slices.codes:
        found = slices.moments(np.ones(count))[name]
        assert found[-1].rows == count
        assert all(np.isfinite([each.mean, each.variance]).all() for each in found)


def test_infinities_are_missing_and_an_empty_reference_has_one_part() -> None:
    assert Slices.of(KNOWN, pd.DataFrame({"x": [np.inf, -np.inf]})).codes["x"].tolist() == [PARTS, PARTS]
    empty = profiled(pd.DataFrame({"x": np.full(5, np.nan)}))
    assert Slices.of(empty, pd.DataFrame({"x": [1.0]})).names["x"] == ("any value", MISSING)
