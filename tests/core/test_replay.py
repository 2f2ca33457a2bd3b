"""Replay: policies see the past alone, costs are counted, controls and delays are right."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest

from benchmarks.streams import abrupt, still
from mlops.core.advice import advise, difference, rows, text
from mlops.core.past import Asked, Past, prepare
from mlops.core.policies import Moment, Ours, Policy, PolicyError, Step, evenly, every, scheduled
from mlops.core.replay import PolicyResult, replay
from mlops.core.stream import Span

WINDOW = 300


def past(frame: pd.DataFrame, window: int = WINDOW) -> Past:
    return prepare(frame.astype(str), "stream.csv", Asked(target="y", window=window, train=6 * window))


def policies(prepared: Past, names: str) -> dict[str, Policy]:
    return {name: scheduled(name, prepared.stream.judged) or Ours() for name in names.split(",")}


@pytest.fixture(scope="module")
def changed() -> pd.DataFrame:
    return abrupt(5, 12000, changes=1)[0]


@pytest.fixture(scope="module")
def results(changed: pd.DataFrame) -> tuple[dict[str, PolicyResult], dict[str, PolicyResult]]:
    prepared = past(changed)
    return replay(
        prepared.stream, prepared.spec, policies(prepared, "never,always,every:4,ours"), time.process_time, [6000]
    )


def test_the_loop_is_as_good_as_retraining_every_window_with_a_quarter_of_the_retrains(
    results: tuple[dict[str, PolicyResult], dict[str, PolicyResult]],
) -> None:
    found, controls = results
    assert found["ours"].accuracy >= found["always"].accuracy
    assert found["ours"].retrains <= found["always"].retrains / 4
    assert found["ours"].log_loss < controls["ours"].log_loss
    assert found["ours"].accuracy > found["never"].accuracy + 0.05


def test_alarms_are_the_windows_of_the_change_and_delays_are_counted_from_it(
    results: tuple[dict[str, PolicyResult], dict[str, PolicyResult]],
) -> None:
    ours = results[0]["ours"]
    (delay,) = ours.delays
    assert delay.window == 21
    assert delay.alarm == ours.alarms[0]
    assert 0 <= ours.alarms[0] - 21 <= 2
    assert delay.windows == delay.alarm - 21
    assert ours.false_alarms == 0
    assert results[0]["never"].delays[0].alarm is None


def test_scheduled_policies_retrain_when_they_are_due(
    results: tuple[dict[str, PolicyResult], dict[str, PolicyResult]],
) -> None:
    found, controls = results
    assert found["never"].retrains == 0
    assert {window.version for window in found["never"].windows} == {"1"}
    judged = len(found["always"].windows)
    assert found["always"].retrains == judged - 1, "a model trained after the last window answers nothing"
    assert [window.version for window in found["always"].windows] == [str(at + 1) for at in range(judged)]
    assert found["every:4"].retrains == (judged - 1) // 4
    assert controls["ours"].retrains == found["ours"].retrains
    assert set(controls) == {"ours"}


def test_the_sums_are_those_of_the_windows(results: tuple[dict[str, PolicyResult], dict[str, PolicyResult]]) -> None:
    for result in results[0].values():
        counts = np.array([window.rows for window in result.windows])
        assert result.log_loss == pytest.approx(np.average([w.log_loss for w in result.windows], weights=counts))
        assert result.accuracy == pytest.approx(np.average([w.accuracy for w in result.windows], weights=counts))
        assert result.retrains == sum(window.retrained for window in result.windows)


def test_shared_fits_are_done_once_and_cost_everyone(changed: pd.DataFrame) -> None:
    prepared, ticks = past(changed.head(3000)), itertools.count()
    both, _ = replay(prepared.stream, prepared.spec, policies(prepared, "always,every:1"), lambda: float(next(ticks)))
    assert both["always"].retrains == both["every:1"].retrains == 3
    assert [w.log_loss for w in both["always"].windows] == [w.log_loss for w in both["every:1"].windows]
    # Each look at this clock is a second: a fit costs one, as does each decision.
    assert both["every:1"].cpu_seconds >= 3
    assert both["every:1"].cpu_seconds >= both["always"].cpu_seconds - 3


def test_no_later_row_changes_an_earlier_result(
    changed: pd.DataFrame, results: tuple[dict[str, PolicyResult], dict[str, PolicyResult]]
) -> None:
    """Replay a past whose rows after a window are shuffled and whose labels there are flipped."""
    last = 27
    other = changed.copy()
    future = changed.iloc[last * WINDOW :].sample(frac=1, random_state=1).reset_index(drop=True)
    future["y"] = future["y"].map({"yes": "no", "no": "yes"})
    other.iloc[last * WINDOW :] = future.to_numpy()
    prepared = past(other)
    others, _ = replay(prepared.stream, prepared.spec, policies(prepared, "never,always,ours"), time.process_time)
    for name in others:
        before = [window for window in results[0][name].windows if window.window <= last]
        assert before == [window for window in others[name].windows if window.window <= last]
        assert any(window.retrained for window in before) == (name != "never")
        assert results[0][name].windows[-1] != others[name].windows[-1]


def test_a_policy_sees_the_past_and_nothing_else(changed: pd.DataFrame) -> None:
    prepared, seen = past(changed.head(3000)), []

    class Watching:
        def after(self, moment: Moment) -> Step:
            seen.append((len(moment.past), moment.window.stop, len(moment.rows), len(moment.probabilities)))
            return Step("none")

    replay(prepared.stream, prepared.spec, {"watching": Watching()}, time.process_time)
    assert all(stop == rows and count == answers == WINDOW for rows, stop, count, answers in seen)
    assert len(seen) == 4


def test_a_still_world_recommends_to_leave_retraining_off() -> None:
    prepared = past(still(3, 6000)[0])
    found, controls = replay(prepared.stream, prepared.spec, policies(prepared, "never,always,ours"), time.process_time)
    assert found["ours"].alarms == ()
    advice = advise(found, controls, "log_loss")
    assert advice.policy == "never"
    assert "No retraining was worth its cost" in advice.reasons[-1]


def test_the_recommendation_names_costs_and_the_table_has_every_policy(
    results: tuple[dict[str, PolicyResult], dict[str, PolicyResult]],
) -> None:
    found, controls = results
    advice = advise(found, controls, "log_loss")
    assert advice.policy == "ours"
    assert any(reason.startswith("always: log loss") and "CPU s" in reason for reason in advice.reasons)
    assert any(reason.startswith("evenly spaced as often as ours") for reason in advice.reasons)
    shown = text(rows(found, controls)).splitlines()
    assert len(shown) == 2 + 5
    assert shown[-1].startswith("evenly spaced")
    one = difference(found["never"], found["ours"], "log_loss")
    assert one.low < one.mean < one.high
    assert one.mean == pytest.approx(found["never"].log_loss - found["ours"].log_loss)


def test_windows_too_small_for_a_verdict_are_judged_together(changed: pd.DataFrame) -> None:
    prepared = past(changed.iloc[4500:7500], 60)
    ours = replay(prepared.stream, prepared.spec, policies(prepared, "ours"), time.process_time)[0]["ours"]
    verdicts = [window.verdict for window in ours.windows]
    assert verdicts[:4] == ["wait", "ok", "wait", "ok"]
    assert ours.alarms
    assert 26 <= ours.alarms[0] <= 30, "two pools of two windows after row 1500"


def test_three_classes_and_numbers_as_labels_are_replayed() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(2000, 2))
    frame = pd.DataFrame(x, columns=["a", "b"]).assign(y=np.digitize(x[:, 0] + 0.3 * x[:, 1], [-0.5, 0.5]))
    prepared = past(frame, 200)
    assert prepared.spec.data.target.classes == ("0", "1", "2")
    found, _ = replay(prepared.stream, prepared.spec, policies(prepared, "never"), time.process_time)
    assert found["never"].accuracy > 0.8


def _windows(count: int) -> list[Span]:
    return [Span(at + 1, at, at + 1, "") for at in range(count)]


def test_even_spacing_spreads_over_the_windows() -> None:
    assert evenly(3, _windows(8)).numbers == {2, 4, 6}
    assert evenly(0, _windows(8)).numbers == frozenset()
    assert len(evenly(99, _windows(8)).numbers) == 7
    assert every(3, _windows(9)).numbers == {3, 6}


@pytest.mark.parametrize("name", ["sometimes", "every", "every:0", "every:x", "always "])
def test_unknown_policies_are_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="there are: never, always, every:N"):
        scheduled(name, _windows(3))
