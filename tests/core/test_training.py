"""Candidates train reproducibly, and their ONNX form answers as they do."""

from typing import Any

import msgspec
import numpy as np
import pytest
from pandas import DataFrame, Timedelta

from mlops.core.training import (
    ConversionError,
    TrainingError,
    fit,
    onnx_probabilities,
    probabilities,
    split,
    to_onnx,
    window,
)
from mlops.spec import Candidate, ModelSpec

KINDS = ("tree", "forest", "boosting", "logistic", "vote")


def candidate(spec: ModelSpec, name: str, **params: Any) -> Candidate:
    """Return a candidate of the spec, with other parameters when given."""
    found = next(c for c in spec.training.candidates if c.name == name)
    return msgspec.structs.replace(found, params=params) if params else found


def with_training(spec: ModelSpec, **changes: Any) -> ModelSpec:
    """Return the spec with some training fields replaced."""
    return msgspec.structs.replace(spec, training=msgspec.structs.replace(spec.training, **changes))


def test_window_keeps_the_latest_days(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    kept = window(mixed_frame, with_training(mixed_spec, window_days=7))
    assert len(kept) == 7 * 24
    assert kept["sent"].max() - kept["sent"].min() == Timedelta(days=6)
    assert window(mixed_frame, mixed_spec) is mixed_frame


def test_time_split_holds_out_the_latest_rows(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    shuffled = mixed_frame.sample(frac=1, random_state=1)
    train, holdout = split(shuffled, mixed_spec)
    assert len(holdout) == 300
    assert train["sent"].max() <= holdout["sent"].min()
    assert sorted([*train["parcel"], *holdout["parcel"]]) == mixed_frame["parcel"].tolist()


def test_time_split_keeps_ties_in_row_order(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    tied = mixed_frame.assign(sent=mixed_frame["sent"][0])
    assert split(tied, mixed_spec)[1]["parcel"].tolist() == tied["parcel"].tolist()[-300:]


def test_random_split_is_the_usual_one(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    from sklearn.datasets import load_iris
    from sklearn.model_selection import train_test_split
    from sklearn.tree import DecisionTreeClassifier

    values, target = load_iris(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(values, target, test_size=0.4, random_state=1984)
    train, holdout = split(iris_frame, iris_spec)
    assert holdout.drop(columns="Species").to_numpy().tolist() == x_test.tolist()
    assert holdout["Species"].tolist() == y_test.astype(str).tolist()
    plain = DecisionTreeClassifier(random_state=1984).fit(x_train, y_train)
    ours = fit(iris_spec.training.candidates[0], iris_spec, train)
    assert (probabilities(ours, holdout, iris_spec.data) == plain.predict_proba(x_test)).all()


def test_too_few_rows_to_split(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="1 rows cannot be split"):
        split(iris_frame.head(1), iris_spec)


@pytest.mark.parametrize("name", KINDS)
def test_onnx_answers_as_the_estimator_on_mixed_rows(name: str, mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    train, holdout = split(mixed_frame, mixed_spec)
    estimator = fit(candidate(mixed_spec, name), mixed_spec, train)
    # Values that training never saw: an unknown carrier, and numbers missing where none was.
    odd = holdout.assign(carrier="unheard", zone=np.nan, weight=np.nan).head(20)
    model = to_onnx(estimator, mixed_spec.data)
    for rows in (holdout, odd):
        trained = probabilities(estimator, rows, mixed_spec.data)
        served = onnx_probabilities(model, rows, mixed_spec.data)
        assert np.abs(trained - served).max() < 1e-5
        assert trained.sum(axis=1) == pytest.approx(1)
    classes = np.array(mixed_spec.data.target.classes)
    predicted = classes[probabilities(estimator, holdout, mixed_spec.data).argmax(axis=1)]
    most_frequent = holdout["late"].value_counts(normalize=True).max()
    assert (predicted == holdout["late"]).mean() > most_frequent + 0.1


@pytest.mark.parametrize("name", KINDS)
def test_onnx_answers_as_the_estimator_on_numbers(
    name: str, iris_frame: DataFrame, iris_spec: ModelSpec, mixed_spec: ModelSpec
) -> None:
    spec = with_training(iris_spec, candidates=mixed_spec.training.candidates)
    gaps = iris_frame.assign(SepalWidthCm=iris_frame["SepalWidthCm"].where(iris_frame.index % 7 != 0))
    estimator = fit(candidate(spec, name), spec, gaps)
    trained = probabilities(estimator, gaps, spec.data)
    served = onnx_probabilities(to_onnx(estimator, spec.data), gaps, spec.data)
    assert np.abs(trained - served).max() < 1e-5
    assert (trained.argmax(axis=1) == gaps["Species"].astype(int)).mean() > 0.93


def test_onnx_has_the_agreed_inputs_and_outputs(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    import onnx

    estimator = fit(candidate(mixed_spec, "tree"), mixed_spec, mixed_frame)
    graph = onnx.load_from_string(to_onnx(estimator, mixed_spec.data)).graph
    assert [i.name for i in graph.input] == ["weight", "carrier", "zone", "size"]
    assert [o.name for o in graph.output] == ["label", "probabilities"]
    onnx.checker.check_model(onnx.load_from_string(to_onnx(estimator, mixed_spec.data)))


@pytest.mark.parametrize("name", KINDS)
def test_training_twice_gives_the_same_onnx(name: str, mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    first, second = (
        to_onnx(fit(candidate(mixed_spec, name), mixed_spec, mixed_frame), mixed_spec.data) for _ in range(2)
    )
    assert first == second


def test_a_number_without_values_is_named(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="no training row has a value of weight"):
        fit(candidate(mixed_spec, "boosting"), mixed_spec, mixed_frame.assign(weight=np.nan))


def test_a_category_without_values_trains(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    estimator = fit(candidate(mixed_spec, "boosting"), mixed_spec, mixed_frame.assign(carrier=None))
    served = onnx_probabilities(to_onnx(estimator, mixed_spec.data), mixed_frame, mixed_spec.data)
    assert np.abs(served - probabilities(estimator, mixed_frame, mixed_spec.data)).max() < 1e-5


def test_unknown_parameters_are_named(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    wrong = candidate(mixed_spec, "tree", depth=3)
    with pytest.raises(
        TrainingError, match=r"candidate 'tree' \(decision_tree\) has unknown params: depth; .*max_depth"
    ):
        fit(wrong, mixed_spec, mixed_frame)


def test_refused_values_name_the_candidate(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    wrong = candidate(mixed_spec, "boosting", max_iter="many")
    with pytest.raises(TrainingError, match=r"candidate 'boosting'.*max_iter"):
        fit(wrong, mixed_spec, mixed_frame)


def test_voting_needs_members(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    for members in ((), ("vote",)):
        alone = msgspec.structs.replace(candidate(mixed_spec, "vote"), members=members)
        with pytest.raises(TrainingError, match="candidate 'vote': members must name"):
            fit(alone, mixed_spec, mixed_frame)


def test_a_class_without_rows_is_named(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    with pytest.raises(TrainingError, match="no training row has Species 2"):
        fit(iris_spec.training.candidates[0], iris_spec, iris_frame.head(100))


def test_conversion_failure_says_what_to_set(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    from sklearn.dummy import DummyClassifier

    dummy = DummyClassifier().fit(iris_frame[["SepalWidthCm"]], iris_frame["Species"])
    with pytest.raises(ConversionError, match=r"DummyClassifier .*serving_format: joblib"):
        to_onnx(dummy, iris_spec.data)


def test_answers_that_are_not_finite_are_refused(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    class Broken:
        classes_ = ("0", "1", "2")

        def predict_proba(self, rows: DataFrame) -> Any:
            return np.where(rows.index.to_numpy()[:, None] < 2, np.nan, 1 / 3) * np.ones(3)

    with pytest.raises(TrainingError, match="not finite on 2 of 150 rows"):
        probabilities(Broken(), iris_frame, iris_spec.data)


def test_features_named_as_the_outputs_are_refused(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    columns = [msgspec.structs.replace(c, name="label") if c.name == "carrier" else c for c in mixed_spec.data.columns]
    data = msgspec.structs.replace(mixed_spec.data, columns=tuple(columns))
    spec = msgspec.structs.replace(mixed_spec, data=data)
    estimator = fit(candidate(spec, "tree"), spec, mixed_frame.rename(columns={"carrier": "label"}))
    with pytest.raises(ConversionError, match="feature 'label' is named as an ONNX output is"):
        to_onnx(estimator, data)
