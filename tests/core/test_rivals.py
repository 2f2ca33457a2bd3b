"""Rivals: which rows each sees, who wins, how long an alarm is followed up."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import DataFrame, concat

from mlops.core import rivals, training
from mlops.core.rivals import Progress
from mlops.spec import ModelSpec


def _windowed(spec: ModelSpec, days: int | None, **gates: int) -> ModelSpec:
    return msgspec.structs.replace(
        spec,
        training=msgspec.structs.replace(spec.training, window_days=days),
        gates=msgspec.structs.replace(spec.gates, **gates),
    )


@pytest.mark.parametrize(
    ("worse", "of", "first"),
    [
        ([False, True, True], 3, 1),
        ([True, False, True], 3, 0),
        ([True, True, True, False, True, True], 3, 4),
        ([True], 3, 0),
        ([False, False], 2, 1),  # an alarm for another reason than its loss begins with its own window
    ],
)
def test_an_alarm_begins_with_the_first_worse_window_that_it_counts(worse: list[bool], of: int, first: int) -> None:
    assert rivals.onset(worse, of) == first


@pytest.mark.parametrize("days", [None, 20])
def test_no_rival_sees_the_holdout_and_all_of_it_is_new(
    mixed_spec: ModelSpec, mixed_frame: DataFrame, days: int | None
) -> None:
    spec = _windowed(mixed_spec, days)
    found = rivals.contest(mixed_frame, 960, spec)
    assert [each.name for each in found.rivals] == [rivals.SLIDING, rivals.SINCE]
    held = set(found.holdout["parcel"])
    assert len(held) == 60
    assert held == set(range(1141, 1201)), "the newest quarter of the 240 rows since the onset"
    sliding, since = (set(each.train["parcel"]) for each in found.rivals)
    assert not held & sliding
    assert since == set(range(961, 1141))
    expected = 1140 if days is None else len(training.window(mixed_frame, spec)) - 60
    assert len(sliding) == expected
    assert since <= sliding


def test_a_spec_with_a_random_split_holds_out_the_newest_rows_too(iris_spec: ModelSpec, iris_frame: DataFrame) -> None:
    frame = concat([iris_frame, iris_frame.sample(frac=1, random_state=3)], ignore_index=True)
    frame["SepalLengthCm"] = np.arange(300.0)  # tells the rows apart
    found = rivals.contest(frame, 150, iris_spec)
    assert found.holdout["SepalLengthCm"].tolist() == list(range(240, 300))
    sliding, since = (each.train for each in found.rivals)
    assert (len(sliding), len(since)) == (240, 90)


@pytest.mark.parametrize(
    ("onset", "gates", "said"),
    [
        (1150, {}, "13 to hold out, 30 asked (gates.min_rows)"),
        (960, {"min_rows": 100}, "60 to hold out, 100 asked (gates.min_rows)"),
        (1200, {}, "0 to hold out, 30 asked"),
        (0, {}, "the whole training window"),
    ],
)
def test_too_few_new_rows_leave_the_sliding_window_alone(
    mixed_spec: ModelSpec, mixed_frame: DataFrame, onset: int, gates: dict[str, int], said: str
) -> None:
    spec = _windowed(mixed_spec, None, **gates)
    found = rivals.contest(mixed_frame, onset, spec)
    assert [each.name for each in found.rivals] == [rivals.SLIDING]
    assert said in found.why
    train, holdout = training.split(mixed_frame, spec)
    assert found.rivals[0].train.equals(train)
    assert found.holdout.equals(holdout)


def test_a_class_that_is_rare_since_the_onset_leaves_the_sliding_window_alone(
    mixed_spec: ModelSpec, mixed_frame: DataFrame
) -> None:
    frame = mixed_frame.copy()
    frame.loc[frame.index >= 960, "late"] = "no"
    found = rivals.contest(frame, 960, mixed_spec)
    assert len(found.rivals) == 1
    assert "0 of class maybe, 10 asked" in found.why


def test_a_number_without_a_value_since_the_onset_leaves_the_sliding_window_alone(
    mixed_spec: ModelSpec, mixed_frame: DataFrame
) -> None:
    frame = mixed_frame.copy()
    frame.loc[frame.index >= 960, "weight"] = np.nan
    assert "no value of weight" in rivals.contest(frame, 960, mixed_spec).why


def test_after_a_change_the_data_since_the_alarm_win_and_without_one_the_window_stands(
    mixed_spec: ModelSpec, mixed_frame: DataFrame
) -> None:
    candidate = mixed_spec.training.candidates[3]

    def winner(frame: DataFrame) -> rivals.Choice:
        found = rivals.contest(frame, 800, mixed_spec)
        answers = {
            str(each.name): training.probabilities(
                training.fit(candidate, mixed_spec, each.train), found.holdout, mixed_spec.data
            )
            for each in found.rivals
        }
        return rivals.choose(mixed_spec, found.holdout["late"], answers)

    assert winner(mixed_frame).winner == rivals.SLIDING
    changed = mixed_frame.copy()
    flipped = changed["late"].map({"no": "yes", "yes": "no", "maybe": "maybe"})
    changed["late"] = changed["late"].where(changed.index < 800, flipped)
    choice = winner(changed)
    assert choice.winner == rivals.SINCE
    assert choice.numbers["gain"] > choice.numbers["error"] > 0
    assert choice.reason.startswith("since the alarm: since the alarm has log_loss")


def test_equal_rivals_leave_the_first_one(iris_spec: ModelSpec) -> None:
    answers = np.full((30, 3), 1 / 3)
    labels = ["0", "1", "2"] * 10
    assert rivals.choose(iris_spec, labels, {"a": answers, "b": answers}).winner == "a"
    assert rivals.choose(iris_spec, labels, {"a": answers}).reason == "a: it has no rival"
    with pytest.raises(ValueError, match="no rival"):
        rivals.choose(iris_spec, labels, {})


def test_a_metric_without_a_value_chooses_nothing(mixed_spec: ModelSpec) -> None:
    spec = msgspec.structs.replace(mixed_spec, training=msgspec.structs.replace(mixed_spec.training, metric="roc_auc"))
    answers = np.full((4, 3), 1 / 3)
    choice = rivals.choose(spec, ["no"] * 4, {"a": answers, "b": answers})
    assert choice.winner == "a"
    assert "one class" in choice.reason


def test_progress_counts_the_window(mixed_spec: ModelSpec, mixed_frame: DataFrame) -> None:
    assert rivals.progress(mixed_frame, 960, _windowed(mixed_spec, 20)) == Progress(240, 240, False)
    assert rivals.progress(mixed_frame, 700, _windowed(mixed_spec, 20)) == Progress(480, 0, True)
    assert rivals.progress(mixed_frame, 960, mixed_spec) == Progress(240, 960, False)
    assert rivals.progress(mixed_frame, 600, mixed_spec).complete


def test_follow_ups_end_when_the_window_is_all_new() -> None:
    assert not rivals.follow_up(Progress(200, 600, False), Progress(399, 400, False))
    assert rivals.follow_up(Progress(200, 600, False), Progress(400, 400, False))
    assert rivals.follow_up(Progress(700, 100, False), Progress(800, 0, True))
    assert not rivals.follow_up(Progress(800, 0, True), Progress(2000, 0, True))
    assert not rivals.follow_up(Progress(0, 600, False), Progress(0, 600, False))


@settings(deadline=None)  # the machine may be busy
@given(window=st.integers(2, 60), first=st.integers(1, 5))
def test_follow_ups_are_few_and_the_last_one_is_all_new(window: int, first: int) -> None:
    last = Progress(min(first, window), max(0, window - first), first >= window)
    trainings = [last]
    for rows in range(first + 1, 10 * window):
        now = Progress(min(rows, window), max(0, window - rows), rows >= window)
        if rivals.follow_up(last, now):
            trainings.append(last := now)
    assert trainings[-1].complete
    assert len(trainings) <= 2 + np.log(window) / np.log(rivals.GROWTH)
