"""Changes that matter are found, chance and calm weeks are not, broken data have a name, nothing crashes."""

from collections.abc import Callable

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mlops.core.arrays import Floats
from mlops.core.drift import INCIDENTS, Finding, Reference, compare, expected_losses, reference
from mlops.core.schema import Column, Schema, Target
from mlops.core.two_sample import chi_squared, kolmogorov_smirnov

SCHEMA = Schema(
    columns=(
        Column("weight", "number", nullable=True),
        Column("rain", "number"),
        Column("size", "integer"),
        Column("key", "integer", feature=False),
        Column("town", "category", nullable=True),
    ),
    target=Target("late", ("no", "yes")),
)
TOWNS = ["Ulm", "Bonn", "Jena", "Hof"]
Change = Callable[[pd.DataFrame], pd.DataFrame]


def rows(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    weight = random.lognormal(size=count)
    return pd.DataFrame(
        {
            "weight": np.where(random.random(count) < 0.1, np.nan, weight),
            "rain": np.where(random.random(count) < 0.9, 0.0, random.random(count)),
            "size": random.integers(1, 8, count).astype(float),
            "key": np.arange(count, dtype=float),
            "town": random.choice(TOWNS, count, p=[0.4, 0.3, 0.2, 0.1]),
        }
    )


def answers(count: int, seed: int = 0) -> Floats:
    yes = np.random.default_rng(seed).beta(2, 5, count)
    return np.column_stack([1 - yes, yes])


def labels_for(probabilities: Floats, seed: int = 0) -> pd.Series:
    happens = np.random.default_rng(seed).random(len(probabilities)) < probabilities[:, 1]
    return pd.Series(np.where(happens, "yes", "no"))


def trained(frame: pd.DataFrame, holdout: int = 500) -> Reference:
    return reference(frame, SCHEMA, labels_for(answers(holdout)), answers(holdout))


def found(profile: Reference, window: pd.DataFrame) -> set[tuple[str, str]]:
    findings = compare(profile, window, answers(len(window), seed=9), SCHEMA, 0.01).findings
    return {(finding.column, finding.kind) for finding in findings if finding.drifted}


def test_a_reference_is_small_and_survives_json() -> None:
    profile = trained(rows(50_000, seed=0))
    data = msgspec.json.encode(profile)
    assert msgspec.json.decode(data, type=Reference) == profile
    assert len(data) < 30_000
    assert set(profile.columns) == {"weight", "rain", "size", "town"}


def test_a_calibrated_model_has_no_excess_loss() -> None:
    holdout = trained(rows(10, seed=0), holdout=20_000).holdout
    assert abs(holdout.excess_loss.mean) < 4 * (holdout.excess_loss.variance / 20_000) ** 0.5
    assert expected_losses(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([np.log(2), 0.0], abs=1e-5)


def test_an_empty_holdout_is_refused() -> None:
    with pytest.raises(ValueError, match="0 labels"):
        reference(rows(10, seed=0), SCHEMA, pd.Series([], dtype=str), np.empty((0, 2)))


def test_unchanged_rows_rarely_alarm() -> None:
    profile = trained(rows(2000, seed=0))
    alarms = sum(bool(found(profile, rows(300, seed=seed))) for seed in range(1, 201))
    assert alarms <= 6  # 0.01 of 200, and three standard errors


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.assign(weight=w["weight"] + 0.3), ("weight", "ks")),
        (lambda w: w.assign(town=w["town"].replace("Ulm", "Bonn")), ("town", "chi2")),
        (lambda w: w.assign(weight=w["weight"].mask(w["key"] % 4 == 0)), ("weight", "missing")),
        (lambda w: w.assign(town=w["town"].mask(w["key"] % 9 == 0)), ("town", "missing")),
    ],
)
def test_a_changed_column_is_found_and_no_other(change: Change, expected: tuple[str, str]) -> None:
    reported = found(trained(rows(1000, seed=0)), change(rows(1000, seed=1)))
    assert expected in reported
    assert {column for column, _ in reported} == {expected[0]}


@pytest.mark.parametrize("now", [6.0, 2027.0])
def test_a_calendars_number_may_be_the_same_for_a_window_and_a_measurement_may_not(now: float) -> None:
    whole = np.arange(2000) % 12 + 1.0 + (2014 if now > 12 else 0)
    before, after = rows(2000, seed=0).assign(size=whole), rows(1000, seed=1)
    assert ("size", "stuck") not in found(trained(before), after.assign(size=now))
    assert ("size", "stuck") in found(trained(before.assign(size=whole / 7)), after.assign(size=now / 7))
    assert ("rain", "stuck") in found(trained(before), after.assign(rain=0.123))


def test_fewer_new_values_than_foretold_are_no_incident() -> None:
    before, now = rows(2000, seed=0), rows(1000, seed=1)
    before["town"] = before["town"].where(before["key"] % 10 > 0, before["key"].map("town {:.0f}".format))
    profile = trained(before)
    assert ("town", "unseen") not in found(profile, now.assign(town=now["town"].mask(now["key"] < 20, "Rom")))
    assert ("town", "unseen") in found(profile, now.assign(town=now["town"].mask(now["key"] < 300, "Rom")))


def test_a_difference_beyond_chance_but_without_weight_is_not_drift() -> None:
    before, now = rows(200_000, seed=0), rows(200_000, seed=1)
    now["weight"] *= 1.03
    ks = finding(compare(trained(before), now, answers(len(now)), SCHEMA, 0.01).findings, "weight", "ks")
    assert ks.p_value is not None
    assert ks.p_value < 1e-6
    assert not ks.drifted


def test_a_model_that_grows_sure_is_found() -> None:
    sure = np.tile([0.99, 0.01], (1000, 1))
    findings = compare(trained(rows(1000, seed=0)), rows(1000, seed=1), sure, SCHEMA, 0.01).findings
    assert finding(findings, "predicted_late", "confidence").drifted


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.drop(columns="town"), ("town", "absent")),
        (lambda w: w.assign(weight=np.nan), ("weight", "all_missing")),
        (lambda w: w.assign(weight=np.inf), ("weight", "all_missing")),
        (lambda w: w.assign(weight="heavy"), ("weight", "all_missing")),
        (lambda w: w.assign(town=None), ("town", "all_missing")),
        (lambda w: w.assign(town=w["town"].mask(w["key"] < 10, "ULM")), ("town", "unseen")),
        (lambda w: w.assign(weight=3.25), ("weight", "stuck")),
        (lambda w: w.assign(weight=w["weight"] * 1000), ("weight", "unit")),
        (lambda w: w.assign(weight=w["weight"] / 2.2046), ("weight", "unit")),
    ],
)
def test_broken_data_are_incidents(change: Change, expected: tuple[str, str]) -> None:
    reported = found(trained(rows(2000, seed=0)), change(rows(1000, seed=1)))
    assert {each for each in reported if each[1] in INCIDENTS} == {expected}


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.assign(town=w["town"].mask(w["key"] < 4, "Rom")),  # strays, under 0.5 % of the rows
        lambda w: w.head(120).assign(town=w["town"].mask(w["key"] < 1, "Rom")),  # a single one, over 0.5 %
        lambda w: w.assign(rain=0.0),  # the usual value of a dry week
        lambda w: w.assign(size=2.0),  # one of seven, as a weekday
        lambda w: w.assign(weight=w["weight"] + 3),  # another shape: no factor restores it
    ],
)
def test_strays_and_calm_weeks_are_no_incidents(change: Change) -> None:
    reported = found(trained(rows(2000, seed=0)), change(rows(1000, seed=1)))
    assert not {kind for _, kind in reported} & INCIDENTS


def test_the_factor_of_a_unit_is_measured() -> None:
    window = rows(1000, seed=1)
    findings = compare(
        trained(rows(2000, seed=0)), window.assign(weight=window["weight"] * 1000), answers(1000), SCHEMA, 0.01
    ).findings
    assert finding(findings, "weight", "unit").effect == pytest.approx(1000, rel=0.2)


def test_a_column_that_was_missing_in_training_may_stay_so() -> None:
    assert found(trained(rows(1000, seed=0).assign(weight=np.nan)), rows(500, seed=1).assign(weight=np.nan)) == set()


def test_a_value_below_a_constant_reference_shows() -> None:
    profile = trained(rows(1000, seed=0).assign(rain=5.0))
    assert ("rain", "ks") in found(profile, rows(500, seed=1).assign(rain=4.0))


def test_rare_values_of_a_wide_category_are_not_unseen() -> None:
    wide = trained(rows(5000, seed=0).assign(town=[f"town {i % 1000}" for i in range(5000)]))
    window = rows(1000, seed=1).assign(town=[f"town {i}" for i in range(1000)])
    assert ("town", "unseen") not in found(wide, window)
    assert len(msgspec.json.encode(wide)) < 40_000


ODD: list[Change] = [
    lambda w: w.head(1),
    lambda w: w.head(0),
    lambda w: w.assign(weight=np.nan, rain=np.nan, size=np.nan, town=None),
    lambda w: w.assign(weight=1.0, rain=1.0, size=1.0, town="Ulm"),
    lambda w: w.assign(weight=[np.inf, -np.inf, np.nan] * (len(w) // 3), rain=1e308, size=-0.0),
    lambda w: w.assign(town=pd.Categorical(w["town"]), size=w["size"].astype("Int64")),
]


@pytest.mark.parametrize("before", ODD[:1] + ODD[2:])
@pytest.mark.parametrize("now", ODD)
def test_odd_rows_give_finite_findings(before: Change, now: Change) -> None:
    window = now(rows(300, seed=1))
    findings = compare(trained(before(rows(300, seed=0))), window, answers(len(window)), SCHEMA, 0.01).findings
    assert msgspec.json.decode(msgspec.json.encode(findings), type=tuple[Finding, ...]) == findings


def test_the_statistics_equal_scipys() -> None:
    counts = np.array([[50, 80], [40, 30], [210, 190]])
    expected = stats.chi2_contingency(counts, correction=False)
    statistic, variation, p_value = chi_squared(counts)
    assert (statistic, p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert variation == pytest.approx(0.1)
    random = np.random.default_rng(0)
    before, now = random.integers(0, 9, 400), random.integers(1, 10, 300)
    ks = stats.ks_2samp(before, now)
    distance, _ = kolmogorov_smirnov(np.bincount(before, minlength=10), np.bincount(now, minlength=10))
    assert distance == pytest.approx(ks.statistic)


def test_rare_cells_are_pooled() -> None:
    many = np.column_stack(
        [np.ones(200, dtype=np.int64), np.r_[np.ones(100, dtype=np.int64), np.zeros(100, dtype=np.int64)]]
    )
    assert chi_squared(many) == (0.0, 0.0, 1.0)


def finding(findings: tuple[Finding, ...], column: str, kind: str) -> Finding:
    (one,) = (each for each in findings if (each.column, each.kind) == (column, kind))
    return one
