"""Past windows set the threshold: seasons and weather stay below it, a jump does not."""

import numpy as np
import pytest
from scipy import stats

from mlops.core.calibration import Past, beyond, recalibrated
from mlops.core.findings import Finding


def past(values: object) -> list[Past]:
    return [Past(float(value)) for value in np.asarray(values, dtype=float)]


def test_too_short_a_past_tells_nothing() -> None:
    assert beyond(9.0, past(np.zeros(19)), 0.01, 20) is None


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_next_of_an_autoregression_is_seldom_beyond(phi: float) -> None:
    random, found = np.random.default_rng(0), 0
    for _ in range(1000):
        values = [random.normal()]
        for _ in range(40):
            values.append(phi * values[-1] + (1 - phi**2) ** 0.5 * random.normal())
        found += bool(beyond(values[-1], past(values[10:-1]), 0.01, 20))
    assert stats.binom.sf(found - 1, 1000, 0.015) > 1e-4


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_square_of_an_autoregression_is_seldom_beyond(phi: float) -> None:
    """How sure a model is changes by the square of what its inputs moved."""
    random, found, level = np.random.default_rng(1), 0, 1e-4
    for _ in range(1000):
        moved = [random.normal()]
        for _ in range(40):
            moved.append(phi * moved[-1] + (1 - phi**2) ** 0.5 * random.normal())
        values = [0.02 + 0.1 * each**2 for each in moved[10:]]
        history = [[finding(each, "confidence")] for each in values[:-1]]
        found += recalibrated([finding(values[-1], "confidence")], history, level, 20)[0].drifted
    assert found <= 3, "the root alone would let about 5 in 1000 pass"


def test_a_slow_season_is_not_beyond_even_where_it_was_never_so_high() -> None:
    rising = np.sin(np.arange(31) / 31 * np.pi / 2)
    assert beyond(rising[-1], past(rising[:-1]), 0.001, 20) is False


def test_a_jump_is_beyond_and_stays_so_until_it_is_the_new_normal() -> None:
    random = np.random.default_rng(2)
    history = past(random.normal(size=30))
    found = []
    for _ in range(40):
        value = 8 + random.normal()
        found.append(beyond(value, history, 0.001, 20))
        history.append(Past(value, bool(found[-1])))
    assert all(found[:10])
    assert not any(found[20:])


def finding(effect: float, kind: str = "location", drifted: bool = True) -> Finding:
    return Finding(column="x", kind=kind, statistic=effect, effect=effect, drifted=drifted)  # type: ignore[arg-type]


def column(location: float, distance: float, scale: float = 0.0) -> list[Finding]:
    """What the tests of one number find."""
    return [finding(location), finding(distance, "ks"), finding(scale, "scale")]


def test_a_distance_that_the_mean_explains_is_for_the_test_of_the_mean_to_judge() -> None:
    random = np.random.default_rng(4)
    # The past lies on one side of the reference, so that its distances seem to be small.
    history = [column(each, 0.03 + 0.38 * abs(each)) for each in random.normal(0.0, 0.2, 30).clip(-0.25, 0.25)]
    wandered, reshaped = column(0.45, 0.21), column(0.1, 0.25)
    drifted = [found.drifted for found in recalibrated(wandered, history, 0.01, 20)]
    assert drifted == [False, False, False]
    assert [found.kind for found in recalibrated(reshaped, history, 0.01, 20) if found.drifted] == ["ks"]
    far = column(2.0, 0.68)
    assert [found.kind for found in recalibrated(far, history, 0.01, 20) if found.drifted] == ["location"]


def test_answers_follow_inputs_that_moved_no_further_than_before() -> None:
    random = np.random.default_rng(5)
    history = [[finding(each), finding(0.06, "confidence")] for each in random.normal(0.3, 0.1, 30)]
    surer = finding(0.4, "confidence")
    calm, weather, drift = finding(0.3, drifted=False), finding(0.4), finding(2.0)
    for inputs, stands in ((calm, True), (weather, False), (drift, True)):
        found = recalibrated([inputs, surer], history, 0.01, 20)
        assert found[1].drifted is stands
    assert recalibrated([weather, surer], history[:5], 0.01, 20)[1].drifted, "without enough windows nothing is excused"


def test_only_drifted_findings_are_recalibrated_and_incidents_never() -> None:
    random = np.random.default_rng(3)
    history = [[finding(each)] for each in random.normal(0.3, 0.1, 30)]
    small, large, stuck = finding(0.4), finding(1.5), finding(1.0, "stuck")
    assert [found.drifted for found in recalibrated([small, large, stuck], history, 0.01, 20)] == [False, True, True]
    assert recalibrated([small], history[:19], 0.01, 20) == (small,)
    calm = finding(9.0, drifted=False)
    assert recalibrated([calm], history, 0.01, 20) == (calm,)


@pytest.mark.parametrize(("often", "stands"), [(1, True), (10, True), (11, False)])
def test_a_broken_window_excuses_nothing_unless_such_come_often(often: int, stands: bool) -> None:
    """A unit that was wrong once must not hide smaller changes of its column for the next sixty windows."""
    random = np.random.default_rng(6)
    broken = [finding(3.0), finding(1000.0, "unit")]
    quiet = [[finding(each)] for each in random.normal(0.0, 0.1, 40)]
    history = [*quiet[:20], *[broken] * often, *quiet[20:]]
    assert recalibrated([finding(1.5)], history, 0.01, 20)[0].drifted is stands


def test_a_test_that_past_windows_did_not_make_keeps_its_own_threshold() -> None:
    history = [[finding(0.1)] for _ in range(30)]
    (found,) = recalibrated([finding(0.2, "missing")], history, 0.01, 20)
    assert (found.drifted, found.calibrated) == (True, False)


def test_the_side_of_zero_counts() -> None:
    random = np.random.default_rng(4)
    history = [[finding(each)] for each in random.normal(0.3, 0.1, 30)]
    (found,) = recalibrated([finding(-1.5)], history, 0.01, 20)
    assert found.drifted
