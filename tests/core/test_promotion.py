"""A challenger is promoted when it is sound and no worse; each refusal has a reason and numbers."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlops.core.arrays import Floats
from mlops.core.promotion import Decision, Gate, decide
from mlops.core.schema import Column
from mlops.spec import ModelSpec

ROWS = 400
TRUTH = np.arange(ROWS) % 3
LABELS = TRUTH.astype(str).tolist()


def answers(skill: float, seed: int = 0) -> Floats:
    """Return probabilities that are the better the greater ``skill`` is."""
    scores = np.random.default_rng(seed).normal(size=(ROWS, 3)) + skill * np.eye(3)[TRUTH]
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


def with_gates(spec: ModelSpec, metric: str = "log_loss", **gates: Any) -> ModelSpec:
    """Return the spec with another metric and only these gates set."""
    training = msgspec.structs.replace(spec.training, metric=metric)
    gates = {"min_accuracy": None} | gates
    return msgspec.structs.replace(spec, training=training, gates=msgspec.structs.replace(spec.gates, **gates))


def gate(decision: Decision, name: str) -> Gate:
    """Return one gate of a decision."""
    return next(g for g in decision.gates if g.name == name)


def number(decision: Decision, name: str, key: str) -> float:
    """Return one number of a gate."""
    value = gate(decision, name).numbers[key]
    assert value is not None
    return value


METRICS = pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc"])


@METRICS
def test_better_is_accepted(metric: str, iris_spec: ModelSpec) -> None:
    ours = answers(2)
    decision = decide(with_gates(iris_spec, metric), LABELS, ours, answers(0.5), ours)
    assert decision.accepted
    compared = gate(decision, "champion")
    assert number(decision, "champion", "difference") < 0
    assert number(decision, "champion", "high") < 0
    assert "excludes zero" in compared.reason
    assert "better" in compared.reason


@METRICS
def test_worse_is_refused(metric: str, iris_spec: ModelSpec) -> None:
    ours = answers(0.5)
    decision = decide(with_gates(iris_spec, metric), LABELS, ours, answers(2), ours)
    assert not decision.accepted
    assert [g.name for g in decision.gates if not g.passed] == ["champion"]
    assert decision.reasons == (gate(decision, "champion").reason,)
    assert "worse" in decision.reasons[0]
    assert number(decision, "champion", "low") > 0


@METRICS
def test_equal_is_accepted(metric: str, iris_spec: ModelSpec) -> None:
    ours = answers(1)
    decision = decide(with_gates(iris_spec, metric), LABELS, ours, ours.copy(), ours)
    assert decision.accepted
    compared = gate(decision, "champion")
    assert (
        number(decision, "champion", "low"),
        number(decision, "champion", "difference"),
        number(decision, "champion", "high"),
    ) == (0, 0, 0)
    assert "equal" in compared.reason
    assert "includes zero" in compared.reason


def test_margin_allows_a_little_worse(iris_spec: ModelSpec) -> None:
    ours, theirs = answers(1.00), answers(1.05)
    strict = decide(with_gates(iris_spec), LABELS, ours, theirs, ours)
    lenient = decide(with_gates(iris_spec, margin=0.1), LABELS, ours, theirs, ours)
    assert (strict.accepted, lenient.accepted) == (False, True)
    assert 0 < number(lenient, "champion", "difference") < 0.1


def test_what_learnt_from_newer_rows_is_refused_when_it_is_worse_beyond_chance(iris_spec: ModelSpec) -> None:
    spec, theirs = with_gates(iris_spec), answers(1.0)
    for skill, expected in ((1.0, True), (0.8, False)):
        ours = answers(skill, seed=3)
        decision = decide(spec, LABELS, ours, theirs, None, newer=True)
        error = (number(decision, "champion", "high") - number(decision, "champion", "difference")) / 1.959964
        assert number(decision, "champion", "margin") == pytest.approx(1.644854 * error)
        assert number(decision, "champion", "difference") > 0
        assert decision.accepted is expected
        assert "since it learnt from newer ones" in gate(decision, "champion").reason
        assert not decide(spec, LABELS, ours, theirs, None).accepted


def test_days_that_differ_widen_the_interval(iris_spec: ModelSpec) -> None:
    timed = msgspec.structs.replace(
        iris_spec, data=msgspec.structs.replace(iris_spec.data, columns=(*iris_spec.data.columns, Column("at", "time")))
    )
    ours, theirs = answers(1.0), answers(1.0)
    days = np.arange(ROWS) // (ROWS // 5)
    ours[days % 2 == 0] = answers(1.4)[days % 2 == 0]
    holdout = pd.DataFrame({"at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(days, unit="D")})
    spec = with_gates(timed)
    alone, clustered = (
        gate(decide(spec, LABELS, ours, theirs, None, holdout=each), "champion") for each in (None, holdout)
    )
    assert alone.numbers["difference"] == clustered.numbers["difference"]
    widths = [(each.numbers["high"] or 0.0) - (each.numbers["low"] or 0.0) for each in (alone, clustered)]
    assert widths[1] > 2 * widths[0]


def test_no_champion_is_accepted(iris_spec: ModelSpec) -> None:
    decision = decide(with_gates(iris_spec), LABELS, answers(1), None, answers(1))
    assert decision.accepted
    assert gate(decision, "champion").reason == "there is no champion to compare with"


def test_not_a_number_is_refused(iris_spec: ModelSpec) -> None:
    broken = answers(2)
    broken[7, 1] = np.nan
    decision = decide(with_gates(iris_spec), LABELS, broken, answers(0.5), answers(2))
    assert not decision.accepted
    assert "not finite on 1 rows" in decision.reasons[0]
    assert decision.gates[-1].name == "finite"


def test_a_broken_champion_does_not_keep_its_place(iris_spec: ModelSpec) -> None:
    theirs = answers(2)
    theirs[0] = np.nan
    decision = decide(with_gates(iris_spec), LABELS, answers(1), theirs, None)
    assert decision.accepted
    assert "champion's probabilities are not finite" in gate(decision, "champion").reason


@pytest.mark.parametrize("rows", [0, 1, 29])
def test_too_few_rows_are_refused(rows: int, iris_spec: ModelSpec) -> None:
    ours = answers(2)[:rows]
    decision = decide(with_gates(iris_spec), LABELS[:rows], ours, ours, ours)
    assert not decision.accepted
    assert decision.reasons == (f"{rows} holdout rows, at least 30 needed",)


def test_one_row_is_compared_without_certainty(iris_spec: ModelSpec) -> None:
    ours, theirs = answers(2)[:1], answers(0)[:1]
    decision = decide(with_gates(iris_spec, min_rows=0), LABELS[:1], ours, theirs, ours)
    assert "includes zero" in gate(decision, "champion").reason


@pytest.mark.parametrize(
    ("bounds", "failed"),
    [
        ({"min_accuracy": 0.99}, "min_accuracy"),
        ({"min_roc_auc": 0.99}, "min_roc_auc"),
        ({"max_log_loss": 0.01}, "max_log_loss"),
        ({"min_accuracy": 0.4, "min_roc_auc": 0.6, "max_log_loss": 1.5}, None),
    ],
)
def test_bounds(bounds: dict[str, Any], failed: str | None, iris_spec: ModelSpec) -> None:
    decision = decide(with_gates(iris_spec, **bounds), LABELS, answers(1), None, None)
    assert {g.name for g in decision.gates} >= set(bounds)
    assert [g.name for g in decision.gates if not g.passed] == ([failed] if failed else [])


def test_undefined_auc_fails_its_bound(iris_spec: ModelSpec) -> None:
    decision = decide(with_gates(iris_spec, "roc_auc", min_roc_auc=0.5), ["1"] * ROWS, answers(1), answers(1), None)
    assert [g.name for g in decision.gates if not g.passed] == ["min_roc_auc", "champion"]
    assert "one class only" in decision.reasons[0]


def test_a_served_form_that_answers_otherwise_is_refused(iris_spec: ModelSpec) -> None:
    ours = answers(2)
    served = ours.copy()
    served[:4] = served[:4, ::-1] * [0.9, 1, 1]
    served[4] = np.nan
    decision = decide(with_gates(iris_spec), LABELS, ours, None, served)
    same = float(np.mean(served[5:].argmax(axis=1) == ours[5:].argmax(axis=1)) * (ROWS - 5))
    share = number(decision, "served_form", "agreement")
    assert not decision.accepted
    assert same / ROWS <= share < 0.999
    assert decide(with_gates(iris_spec, min_onnx_agreement=0.98), LABELS, ours, None, served).accepted


def test_shapes_must_match(iris_spec: ModelSpec) -> None:
    ours = answers(1)
    with pytest.raises(ValueError, match="served probabilities"):
        decide(with_gates(iris_spec), LABELS, ours, None, ours[:10])
    with pytest.raises(ValueError, match="400 labels"):
        decide(with_gates(iris_spec), LABELS, ours, ours[:10], ours)


def test_a_decision_survives_json(iris_spec: ModelSpec) -> None:
    decision = decide(with_gates(iris_spec), LABELS, answers(1), answers(1), answers(1))
    assert msgspec.json.decode(msgspec.json.encode(decision), type=Decision) == decision
