"""A bundle loaded for serving: digests checked, warmed up, its golden records answered."""

import math
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from mlops.adapters.arrow_arrays import Coded
from mlops.adapters.bundles import Reader as BundleReader
from mlops.adapters.bundles import load as load_bundle
from mlops.adapters.prediction_tables import Value
from mlops.core.bundle import ServedModel
from mlops.core.schema import Column, Schema
from mlops.scoring.errors import ModelError, Refused
from mlops.scoring.onnx_model import Predict, Probabilities, load_onnx
from mlops.scoring.records import Reader, Rows
from mlops.scoring.validation import Row

GOLDEN_TOLERANCE = 1e-3
"""Single precision and another processor may move a probability by less than this."""
SLICE = 2_000
"""Rows given to a model at once, so that a batch whose time is over ends soon."""
QUICK_SECONDS = 0.02
"""A model that takes longer for a small request is asked in a thread, so that other requests need not wait."""


class Model:
    """A loaded bundle: checks records and answers them."""

    def __init__(self, digest: str, about: ServedModel, predict: Predict) -> None:
        self.digest = digest
        self.about = about
        self.schema = about.data
        self.classes = about.data.target.classes
        self.reader = Reader(about.data)
        self._seconds = 0.0
        self._predict = predict

    @property
    def quick(self) -> bool:
        """Whether small requests are answered so fast that others may wait for them."""
        return self._seconds < QUICK_SECONDS

    def took(self, seconds: float) -> None:
        """Remember how long a small request took; recent ones count most."""
        self._seconds += 0.1 * (seconds - self._seconds)

    def predict_few(self, rows: Sequence[Row]) -> tuple[list[str], list[list[float]]]:
        """Answer a few rows: the classes, and for each row its probabilities in the schema's order.

        Raises:
            Refused: 422, the model has no finite answer for these values.
        """
        # For so few numpy's functions would cost more than the model.
        found: list[list[float]] = self._predict(rows).tolist()
        if not math.isfinite(sum(map(sum, found))):
            raise _infinite()
        return [self.classes[each.index(max(each))] for each in found], found

    def predict_one(self, row: Row) -> tuple[str, list[float]]:
        """Answer a single row. Raises ``Refused`` as ``predict_few`` does."""
        (label,), (probabilities,) = self.predict_few((row,))
        return label, probabilities

    def predict(self, rows: Rows, deadline: float = math.inf) -> tuple[Coded, Probabilities]:
        """Answer rows: the classes, and the probabilities [rows, classes] in the schema's order.

        Raises:
            Refused: 422, the model has no finite answer for these values.
            TimeoutError: ``deadline`` (of ``time.monotonic``) passed between two slices.
        """
        slices = []
        for start in range(0, len(rows), SLICE):
            if time.monotonic() > deadline:
                raise TimeoutError
            slices.append(self._predict(rows[start : start + SLICE]))
        found = slices[0] if len(slices) == 1 else np.concatenate(slices)
        if not np.isfinite(found).all():
            raise _infinite()
        return Coded(self.classes, found.argmax(axis=1)), found


def _infinite() -> Refused:
    return Refused(422, "the model has no finite probability for these values")


def load_model(store: BundleReader, name: str, digest: str) -> Model:
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
    model = Model(
        digest,
        about,
        load_onnx(data, about, _neutral_row(about.data)) if about.format == "onnx" else _joblib(data, about.data),
    )
    _warm_up(model)
    _check_golden(model)
    return model


def _decode(data: bytes) -> ServedModel:
    try:
        return msgspec.json.decode(data, type=ServedModel)
    except msgspec.DecodeError as error:
        raise ModelError(f"model.json: {error}") from None


def _joblib(data: bytes, schema: Schema) -> Predict:
    """Load a pickled estimator, whose digest has been checked."""
    from mlops.adapters.estimators import EstimatorError, load_estimator

    estimate = load_estimator(data, schema)

    def predict(rows: Rows) -> Probabilities:
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
            _, found = model.predict_one(model.reader.check(golden.record, 1).rows[0])
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
