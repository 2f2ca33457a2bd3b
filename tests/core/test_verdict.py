"""Each rule of the verdict, on a model that is calibrated until its labels are flipped."""

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlops.core import drift
from mlops.core.arrays import Floats
from mlops.core.findings import Finding
from mlops.core.schema import Column, Schema, Target
from mlops.core.verdict import Meaning, Verdict, judge, markdown
from mlops.spec import Drift

SCHEMA = Schema(columns=(Column("x", "number"), Column("town", "category")), target=Target("late", ("0", "1")))
POLICY = Drift(min_rows=100, max_excess_loss=0.02, agree=2, of=3, cooldown_windows=2)
Sample = tuple[pd.DataFrame, Floats, pd.Series]


def sample(count: int, seed: int, flip: float = 0.0, mean: float = 1.0) -> Sample:
    """Rows of x ~ N(mean, 1), probabilities that are true but for a share of flipped labels."""
    random = np.random.default_rng(seed)
    x = random.normal(mean, 1, count)
    yes = 1 / (1 + np.exp(-3 * x))
    truth = (random.random(count) < yes) != (random.random(count) < flip)
    window = pd.DataFrame({"x": x, "town": random.choice(["Ulm", "Bonn"], count)})
    return window, np.column_stack([1 - yes, yes]), pd.Series(np.where(truth, "1", "0"))


def learned(seed: int = 0, count: int = 2000) -> drift.Reference:
    window, probabilities, labels = sample(count, seed)
    return drift.reference(window, SCHEMA, labels, probabilities)


REFERENCE = learned()


def given(sampled: Sample, history: tuple[Verdict, ...] = (), policy: Drift = POLICY, version: str = "2") -> Verdict:
    return judge(REFERENCE, *sampled, SCHEMA, policy, version, history)


def past(verdict: Meaning, worse: bool = False, version: str = "2") -> Verdict:
    tested = (Finding(column="late", kind="loss", statistic=0.0, effect=0.0),)
    return Verdict(
        verdict=verdict, reasons=(), version=version, rows=500, labelled=500, worse=worse, performance=tested
    )


OK, WORSE, RETRAIN = past("ok"), past("investigate", worse=True), past("retrain", worse=True)
SMALL = Verdict(verdict="wait", reasons=(), version="2", rows=40, labelled=40, waits_for="rows")
BROKEN = Verdict(verdict="data_incident", reasons=(), version="2", rows=500, labelled=500)
FLIPPED = sample(1000, seed=3, flip=0.1)


def test_an_unchanged_window_is_ok() -> None:
    verdict = given(sample(1000, seed=1))
    assert (verdict.verdict, verdict.worse, verdict.labelled) == ("ok", False, 1000)
    assert "not materially worse" in verdict.reasons[0]


def test_too_few_rows_wait() -> None:
    verdict = given(sample(99, seed=1, flip=0.5), history=(WORSE, WORSE))
    assert (verdict.verdict, verdict.worse) == ("wait", False)
    assert verdict.reasons == ("Only 99 rows; a verdict needs 100.",)


def test_no_rows_wait() -> None:
    window, probabilities, labels = sample(10, seed=1)
    assert given((window.head(0), probabilities[:0], labels.head(0))).verdict == "wait"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ((), "investigate"),
        ((OK, OK), "investigate"),
        ((WORSE,), "retrain"),
        ((WORSE, OK), "retrain"),
        ((WORSE, OK, OK), "investigate"),  # the worse one is the fourth
        ((past("investigate", worse=True, version="1"), OK), "investigate"),  # of another version
        ((RETRAIN,), "investigate"),  # cools down
        ((RETRAIN, WORSE), "investigate"),
        ((RETRAIN, WORSE, WORSE), "retrain"),
        ((past("retrain", worse=True, version="1"), WORSE), "investigate"),  # another version's counts too
        ((WORSE, SMALL, SMALL), "retrain"),  # the small ones are judged with this one
        ((WORSE, BROKEN, BROKEN), "retrain"),  # broken data speak neither for the model nor against it
        ((RETRAIN, SMALL, SMALL, WORSE), "investigate"),  # cools down for two windows that were judged
    ],
)
def test_a_worse_window_retrains_when_it_persists_and_no_retraining_is_recent(
    history: tuple[Verdict, ...], expected: Meaning
) -> None:
    verdict = given(FLIPPED, history=history)
    assert verdict.worse
    assert verdict.verdict == expected
    assert "worse than in training" in verdict.reasons[0]


def test_an_ok_window_never_retrains() -> None:
    assert given(sample(1000, seed=1), history=(WORSE, WORSE)).verdict == "ok"


def test_a_second_change_is_found_after_one_that_a_retraining_answered_long_ago() -> None:
    policy = msgspec.structs.replace(POLICY, min_history=6)
    history: tuple[Verdict, ...] = ()
    for seed in range(40):
        version, flip = ("1", 0.5) if seed in (10, 11) else ("1" if seed < 10 else "2", 0.0)
        history += (given(sample(500, seed, flip=flip), history, policy, version),)
    assert [at for at, each in enumerate(history) if each.worse] == [10, 11]
    assert history[11].verdict == "retrain"

    again = given(sample(500, 100, flip=0.3), history, policy)
    assert again.worse
    assert given(sample(500, 101, flip=0.3), (*history, again), policy).verdict == "retrain"


def test_no_cooldown_is_a_policy_too() -> None:
    policy = msgspec.structs.replace(POLICY, cooldown_windows=0)
    assert given(FLIPPED, history=(RETRAIN,), policy=policy).verdict == "retrain"


def test_a_loss_that_the_policy_allows_is_not_worse() -> None:
    assert not given(FLIPPED, policy=msgspec.structs.replace(POLICY, max_excess_loss=0.6)).worse


def test_drifted_inputs_are_investigated_and_never_retrained() -> None:
    verdict = given(sample(1000, seed=1, mean=0.5), history=(WORSE, WORSE))
    assert (verdict.verdict, verdict.worse) == ("investigate", False)
    assert "x" in verdict.reasons[0]


def test_harder_inputs_do_not_make_a_model_worse() -> None:
    verdict = given(sample(5000, seed=1, mean=0.0))
    assert verdict.numbers["log_loss"] > 1.3 * REFERENCE.holdout.log_loss.mean  # type: ignore[operator]
    assert not verdict.worse


def test_a_data_incident_names_the_column_and_does_not_count_against_the_model() -> None:
    window, probabilities, labels = FLIPPED
    verdict = given((window.assign(town="BONN"), probabilities, labels), history=(WORSE, WORSE))
    assert (verdict.verdict, verdict.worse) == ("data_incident", False)
    assert verdict.reasons == (
        "Column town: 100.0% of the rows hold values never seen in training (BONN);"
        " check the codes that its source sends.",
    )


@pytest.mark.parametrize("window", [{"x": np.nan}, {"x": 1.0}, {"x": 1e6}, {"town": None}])
def test_every_kind_of_incident_has_a_sentence(window: dict[str, float | None]) -> None:
    frame, probabilities, labels = sample(1000, seed=1)
    verdict = given((frame.assign(**window), probabilities, labels))
    assert verdict.reasons[0].endswith(".")
    assert next(iter(window)) in verdict.reasons[0]


@pytest.mark.parametrize(("mean", "expected"), [(1.0, "wait"), (0.5, "investigate")])
@pytest.mark.parametrize("arrived", [0, 99])
def test_without_labels_the_inputs_decide(mean: float, expected: Meaning, arrived: int) -> None:
    window, probabilities, labels = sample(1000, seed=1, flip=0.5, mean=mean)
    verdict = given((window, probabilities, labels.where(labels.index < arrived)), history=(WORSE, WORSE))
    assert (verdict.verdict, verdict.labelled, verdict.worse) == (expected, arrived, False)
    assert f"{arrived} of 1000 labels" in verdict.reasons[-1]


def test_no_labels_at_all() -> None:
    window, probabilities, _ = sample(1000, seed=1)
    verdict = judge(REFERENCE, window, probabilities, None, SCHEMA, POLICY, "2")
    assert (verdict.verdict, verdict.numbers["z"]) == ("ok", None)
    assert verdict.estimated["accuracy"] == pytest.approx(REFERENCE.holdout.accuracy, abs=0.05)


def test_labels_are_matched_by_position_and_strange_ones_have_not_arrived() -> None:
    window, probabilities, labels = sample(1000, seed=1)
    labels = labels.mask(labels.index < 200, "")
    labels.index = pd.RangeIndex(5000, 6000)
    verdict = given((window, probabilities, labels))
    assert (verdict.labelled, verdict.verdict) == (800, "ok")


def test_answers_that_are_not_numbers_are_not_measured() -> None:
    window, probabilities, labels = sample(1000, seed=1)
    probabilities[:300] = np.nan
    assert given((window, probabilities, labels)).labelled == 700


def test_lengths_must_agree() -> None:
    window, probabilities, labels = sample(200, seed=1)
    with pytest.raises(ValueError, match="200 rows, 199 answers"):
        given((window, probabilities[:-1], labels))


def test_flipped_labels_are_found_and_unchanged_ones_are_not() -> None:
    flipped = [given(sample(1000, seed=seed, flip=0.1)).worse for seed in range(100, 160)]
    unchanged = [given(sample(1000, seed=seed)).worse for seed in range(200, 400)]
    assert np.mean(flipped) >= 0.95
    assert sum(unchanged) <= 2


def test_a_verdict_survives_json_and_reads_as_a_page() -> None:
    verdict = given(FLIPPED, history=(WORSE,))
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    page = markdown(verdict, "late, week 3")
    assert page.startswith("# retrain: late, week 3\n")
    assert all(f"- {reason}" in page for reason in verdict.reasons)
    assert "<td>rows</td><td>1000</td>" in page
    assert "<td>x</td><td>ks</td>" in page
