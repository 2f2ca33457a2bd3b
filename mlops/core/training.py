"""Training: rows to a fitted estimator, and its conversion to the ONNX form that serves."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series, Timedelta

from mlops.core.features import MATRIX, features, layout, onnx_inputs
from mlops.core.schema import Schema
from mlops.spec import Candidate, ModelSpec

if TYPE_CHECKING:
    from onnx import ModelProto
    from sklearn.base import BaseEstimator, ClassifierMixin

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Fixed, so that a converter's newer default does not change a bundle's digest."""


class TrainingError(ValueError):
    """A candidate cannot be trained on these rows; the message says which and why."""


class ConversionError(ValueError):
    """An estimator has no ONNX form."""


def window(frame: DataFrame, spec: ModelSpec) -> DataFrame:
    """Keep the rows of the latest ``training.window_days`` of event time; all of them when it is not set.

    Raises:
        TrainingError: a window is set and the data has no time column.
    """
    days, time = spec.training.window_days, spec.data.time
    if days is None:
        return frame
    if time is None:
        raise TrainingError("training.window_days is set, but data declares no column of type time")
    kept: Series[bool] = frame[time] > frame[time].max() - Timedelta(days=days)
    return frame[kept].reset_index(drop=True)


def split(frame: DataFrame, spec: ModelSpec) -> tuple[DataFrame, DataFrame]:
    """Hold rows out: a random share, or the latest by event time (ties stay in row order).

    Returns:
        The rows to train on and the holdout, which has ``ceil(rows * test)`` of them.

    Raises:
        TrainingError: there are too few rows for both.
    """
    held_out = math.ceil(len(frame) * spec.training.split.test)
    if not 0 < held_out < len(frame):
        raise TrainingError(f"{len(frame)} rows cannot be split into training and holdout rows")
    if spec.training.split.method == "time" and spec.data.time:
        ordered = frame.sort_values(spec.data.time, kind="stable")
        parts = [ordered.iloc[:-held_out], ordered.iloc[-held_out:]]
    else:
        from sklearn.model_selection import train_test_split

        parts = train_test_split(frame, test_size=spec.training.split.test, random_state=spec.training.split.seed)
    return parts[0].reset_index(drop=True), parts[1].reset_index(drop=True)


def fit(candidate: Candidate, spec: ModelSpec, train: DataFrame) -> "ClassifierMixin":
    """Fit a candidate on typed, labelled rows; the same rows give the same estimator, bit for bit.

    Raises:
        TrainingError: a parameter is unknown or refused, a class has no row, a number no value, or
            a voting candidate no members that can vote.
    """
    from threadpoolctl import threadpool_limits

    _refuse_gaps(train, spec.data)
    estimator = _estimator(candidate, spec)
    # One thread, since sums in another order round differently. The limit stays for the process:
    # lifting it would race with candidates that other threads are fitting.
    threadpool_limits(limits=1)
    try:
        return estimator.fit(features(train, spec.data), train[spec.data.target.name].to_numpy(str))
    except (ValueError, TypeError) as error:  # what scikit-learn raises for a parameter's value
        raise TrainingError(f"candidate {candidate.name!r} ({candidate.estimator}): {error}") from error


def probabilities(estimator: "ClassifierMixin", frame: DataFrame, schema: Schema) -> NDArray[np.float64]:
    """Predict class probabilities, [rows, classes] in the order of ``target.classes``.

    Raises:
        TrainingError: some are not finite.
    """
    order = _class_order(estimator, schema)
    answers = np.asarray(estimator.predict_proba(features(frame, schema)), dtype=np.float64)[:, order]
    if wrong := int((~np.isfinite(answers)).any(axis=1).sum()):
        raise TrainingError(f"the estimator's probabilities are not finite on {wrong} of {len(frame)} rows")
    return answers


def to_onnx(estimator: "ClassifierMixin", schema: Schema) -> bytes:
    """Convert a fitted estimator: inputs as ``features.layout`` says, outputs ``label`` and ``probabilities``.

    Raises:
        ConversionError: it does not convert; the message says what to set in the spec instead.
    """
    from skl2onnx import convert_sklearn

    inputs = _inputs(schema)
    if clashing := {name for name, _ in inputs} & {"label", "probabilities"}:
        raise ConversionError(f"feature {clashing.pop()!r} is named as an ONNX output is; rename the column")
    try:
        model = convert_sklearn(estimator, "model", inputs, target_opset=OPSETS, options={"zipmap": False})
    except Exception as error:  # Converters of a hundred estimators raise what they like.
        raise ConversionError(
            f"{type(estimator).__name__} does not convert to ONNX ({_first_line(error)});"
            " set `serving_format: joblib` in the spec"
        ) from error
    _reorder(model, _class_order(estimator, schema))
    return bytes(model.SerializeToString())


def onnx_probabilities(model: bytes, frame: DataFrame, schema: Schema) -> NDArray[np.float64]:
    """Predict class probabilities with the ONNX form on one thread, [rows, classes] as ``target.classes``."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # Without the converter's unused constants.
    session = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (answers,) = session.run(["probabilities"], onnx_inputs(frame, schema))
    return np.asarray(answers, dtype=np.float64)


def _refuse_gaps(train: DataFrame, schema: Schema) -> None:
    if absent := [label for label in schema.target.classes if label not in set(train[schema.target.name])]:
        raise TrainingError(f"no training row has {schema.target.name} {', '.join(absent)}")
    if empty := [name for name in schema.numbers if train[name].isna().all()]:
        raise TrainingError(f"no training row has a value of {', '.join(empty)}; mend the data or remove the column")


def _estimator(candidate: Candidate, spec: ModelSpec) -> "BaseEstimator":
    if candidate.estimator != "voting":
        return _pipeline(candidate, spec)
    from sklearn.ensemble import VotingClassifier

    by_name = {c.name: c for c in spec.training.candidates}
    members = [by_name[name] for name in candidate.members]
    if not members or any(c.estimator == "voting" for c in members):
        raise TrainingError(f"candidate {candidate.name!r}: members must name one or more candidates that do not vote")
    # The converter takes weights only as an array, and probabilities only unflattened.
    params = {name: np.array(v) if name == "weights" else v for name, v in candidate.params.items()}
    fixed = {
        "estimators": [(c.name, _pipeline(c, spec)) for c in members],
        "voting": "soft",
        "flatten_transform": False,
    }
    return _construct(VotingClassifier, candidate, params, fixed)


def _pipeline(candidate: Candidate, spec: ModelSpec) -> "BaseEstimator":
    """Encode, then classify; trees other than histogram ones need imputation to convert."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.tree import DecisionTreeClassifier

    kinds: dict[str, Any] = {
        "decision_tree": DecisionTreeClassifier,
        "random_forest": RandomForestClassifier,
        "hist_gradient_boosting": HistGradientBoostingClassifier,
        "logistic_regression": LogisticRegression,
    }
    seeded = {"random_state": spec.training.split.seed} | candidate.params
    classifier = _construct(kinds[candidate.estimator], candidate, seeded, {})
    return Pipeline([*_encoding(candidate.estimator, spec.data), ("classify", classifier)])


def _construct(
    kind: "type[BaseEstimator]", candidate: Candidate, params: dict[str, Any], fixed: dict[str, Any]
) -> "BaseEstimator":
    allowed = sorted(set(kind._get_param_names()) - set(fixed))
    if unknown := sorted(set(params) - set(allowed)):
        raise TrainingError(
            f"candidate {candidate.name!r} ({candidate.estimator}) has unknown params: {', '.join(unknown)};"
            f" there are: {', '.join(allowed)}"
        )
    return kind(**params, **fixed)


def _encoding(kind: str, schema: Schema) -> list[tuple[str, Any]]:
    """List the steps before the classifier: numbers prepared as the kind needs, categories one-hot."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    steps = _number_steps(kind)
    if layout(schema) == "matrix":
        return steps
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    parts = [("categories", one_hot, list(schema.categories))]
    if schema.numbers:
        parts.insert(0, ("numbers", Pipeline(steps) if steps else "passthrough", list(schema.numbers)))
    return [("encode", ColumnTransformer(parts))]


def _number_steps(kind: str) -> list[tuple[str, Any]]:
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    if kind == "hist_gradient_boosting":
        return []
    # Other trees could split on missing values, but their ONNX form cannot.
    impute = [("impute", SimpleImputer(strategy="median"))]
    return [*impute, ("scale", StandardScaler())] if kind == "logistic_regression" else impute


def _class_order(estimator: "ClassifierMixin", schema: Schema) -> list[int]:
    """Where each of ``target.classes`` stands in the estimator's order, which is alphabetical."""
    known = [str(label) for label in estimator.classes_]
    return [known.index(label) for label in schema.target.classes]


def _inputs(schema: Schema) -> list[tuple[str, Any]]:
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    if layout(schema) == "matrix":
        return [(MATRIX, FloatTensorType([None, len(schema.features)]))]
    text, number = StringTensorType([None, 1]), FloatTensorType([None, 1])
    return [(c.name, text if c.type == "category" else number) for c in schema.features]


def _reorder(model: "ModelProto", order: list[int]) -> None:
    """Let the ONNX form answer its probabilities in another order of the classes, in place."""
    if order == sorted(order):
        return
    from onnx import TensorProto
    from onnx.helper import make_node, make_tensor

    (source,) = (node for node in model.graph.node if "probabilities" in node.output)
    source.output[:] = ["sorted_probabilities" if name == "probabilities" else name for name in source.output]
    model.graph.initializer.append(make_tensor("class_order", TensorProto.INT64, [len(order)], order))
    model.graph.node.append(make_node("Gather", ["sorted_probabilities", "class_order"], ["probabilities"], axis=1))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
