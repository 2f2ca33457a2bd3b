"""A bundle loaded for serving: digests checked, warmed up, its golden records answered."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from mlops.adapters.bundles import Reader
from mlops.adapters.bundles import load as load_bundle
from mlops.core.bundle import ServedModel
from mlops.core.schema import Column, Schema
from mlops.scoring.errors import Refused
from mlops.scoring.validation import Checker, Row, Value

Probabilities = npt.NDArray[np.floating[Any]]
Predict = Callable[[Sequence[Row]], Probabilities]
GOLDEN_TOLERANCE = 1e-3
"""Single precision and another processor may move a probability by less than this."""
SLICE = 2_000
"""Rows given to a model at once, so that a batch whose time is over ends soon."""
QUICK_SECONDS = 0.02
"""A model that takes longer for a small request is asked in a thread, so that other requests need not wait."""


class ModelError(Exception):
    """A bundle cannot serve: it does not load, or does not answer as it must."""


class Model:
    """A loaded bundle: checks records and answers them."""

    def __init__(self, digest: str, about: ServedModel, predict: Predict) -> None:
        self.digest = digest
        self.about = about
        self.schema = about.data
        self.classes = about.data.target.classes
        self.checker = Checker(about.data)
        self._seconds = 0.0
        self._predict = predict

    @property
    def quick(self) -> bool:
        """Whether small requests are answered so fast that others may wait for them."""
        return self._seconds < QUICK_SECONDS

    def took(self, seconds: float) -> None:
        """Remember how long a small request took; recent ones count most."""
        self._seconds += 0.1 * (seconds - self._seconds)

    def predict(self, rows: Sequence[Row], deadline: float = math.inf) -> tuple[list[str], list[list[float]]]:
        """Answer rows: the classes, and the probabilities [rows, classes] in the schema's order.

        Raises:
            Refused: 422, the model has no finite answer for these values.
            TimeoutError: ``deadline`` (of ``time.monotonic``) passed between two slices.
        """
        if len(rows) == 1:
            return self._slice(rows)
        predicted: list[str] = []
        probabilities: list[list[float]] = []
        for start in range(0, len(rows), SLICE):
            if time.monotonic() > deadline:
                raise TimeoutError
            labels, values = self._slice(rows[start : start + SLICE])
            predicted += labels
            probabilities += values
        return predicted, probabilities

    def _slice(self, rows: Sequence[Row]) -> tuple[list[str], list[list[float]]]:
        found = self._predict(rows)
        probabilities: list[list[float]] = found.tolist()
        if len(rows) == 1:  # For one row numpy's functions cost more than the model.
            (row,) = probabilities
            finite, places = math.isfinite(sum(row)), [row.index(max(row))]
        else:
            finite, places = bool(np.isfinite(found).all()), found.argmax(axis=1).tolist()
        if not finite:
            raise Refused(422, "the model has no finite probability for these values")
        return [self.classes[i] for i in places], probabilities


def load_model(store: Reader, name: str, digest: str) -> Model:
    """Load a bundle by its digest, warm it up and check its golden records.

    Raises:
        mlops.adapters.bundles.BundleError: a file is absent or altered.
        ModelError: it is another model's, cannot be loaded or answers otherwise than when it was built.
    """
    about = _decode(load_bundle(store, name, digest, "model.json")["model.json"])
    if about.model != name:
        raise ModelError(f"bundle {digest} is one of model {about.model!r}, not {name!r}")
    if about.format not in ("onnx", "joblib"):
        raise ModelError(f"bundle {digest} has the unknown format {about.format!r} in model.json")
    file = f"model.{about.format}"
    data = load_bundle(store, name, digest, file)[file]
    model = Model(digest, about, _onnx(data, about) if about.format == "onnx" else _joblib(data, about.data))
    _warm_up(model)
    _check_golden(model)
    return model


def _decode(data: bytes) -> ServedModel:
    try:
        return msgspec.json.decode(data, type=ServedModel)
    except msgspec.DecodeError as error:
        raise ModelError(f"model.json: {error}") from None


def _onnx(data: bytes, about: ServedModel) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    make_inputs = _inputs(about)
    expected, found = set(make_inputs([_neutral_row(about.data)])), {item.name for item in session.get_inputs()}
    if expected != found:
        raise ModelError(f"model.onnx has the inputs {sorted(found)}, but model.json asks for {sorted(expected)}")
    run = session.run
    return lambda rows: run(["probabilities"], make_inputs(rows))[0]


def _inputs(about: ServedModel) -> Callable[[Sequence[Row]], dict[str, npt.NDArray[Any]]]:
    """The ONNX inputs of rows, by the bundle's layout."""
    position = {column.name: i for i, column in enumerate(about.data.columns)}
    features = [(column.name, position[column.name], column.type == "category") for column in about.data.features]
    if about.layout == "matrix":
        places = [place for _, place, _ in features]
        if places == list(range(len(about.data.columns))):
            return lambda rows: {"features": np.array(rows, dtype=np.float32)}
        return lambda rows: {"features": np.array([[row[i] for i in places] for row in rows], dtype=np.float32)}
    if about.layout != "columns":
        raise ModelError(f"model.json: unknown layout {about.layout!r}; it must be matrix or columns")

    def columns(rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]]:
        # A missing number is NaN (numpy's reading of None), a missing category the empty text.
        return {
            name: np.array([[row[i] or ""] for row in rows], dtype=object)
            if text
            else np.array([[row[i]] for row in rows], dtype=np.float32)
            for name, i, text in features
        }

    return columns


def _joblib(data: bytes, schema: Schema) -> Predict:
    """Load a pickled estimator, whose digest has been checked."""
    from mlops.adapters.estimators import EstimatorError, load_estimator

    estimate = load_estimator(data, schema)

    def predict(rows: Sequence[Row]) -> Probabilities:
        try:
            return estimate(rows)
        except EstimatorError as error:
            raise Refused(422, f"the model cannot answer for these values: {error}") from None

    return predict


def _warm_up(model: Model) -> None:
    """Answer before anyone asks, so that the first request is not the slow one, and see how long it takes."""
    row = _neutral_row(model.schema)
    shape = model._predict([row]).shape
    if shape != (1, len(model.classes)):
        raise ModelError(f"the probabilities of one record have the shape {shape}, not (1, {len(model.classes)})")
    started = time.perf_counter()
    model._predict([row])
    model._seconds = time.perf_counter() - started


def _check_golden(model: Model) -> None:
    for golden in model.about.golden:
        try:
            _, (found,) = model.predict(model.checker.rows(golden.record))
        except Refused as refused:
            raise ModelError(f"golden record {golden.record}: {refused.error}") from None
        expected = np.array(golden.probabilities)
        if len(found) != len(expected) or not np.allclose(found, expected, rtol=0, atol=GOLDEN_TOLERANCE):
            raise ModelError(f"golden record {golden.record}: answered {found}, expected {expected.tolist()}")


def _neutral_row(schema: Schema) -> Row:
    return [_neutral(column) for column in schema.columns]


def _neutral(column: Column) -> Value:
    if column.type == "time":
        return None
    if column.type == "category":
        return column.values[0] if column.values else ""
    return 0.0 if column.min is None else column.min
