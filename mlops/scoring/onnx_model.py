"""Models as onnxruntime runs them, on the thread that asks."""

import threading
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops.core.bundle import ServedModel
from mlops.scoring.errors import ModelError
from mlops.scoring.records import Rows
from mlops.scoring.validation import Row

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Probabilities = npt.NDArray[np.floating[Any]]
Predict = Callable[[Rows], Probabilities]
OUTPUT = "probabilities"
FEW = 16
"""Rows for which arrays are kept."""


def load_onnx(data: bytes, about: ServedModel, row: Row) -> Predict:
    """Load a model from its bytes; ``row`` is any that it can answer.

    Raises:
        ModelError: its inputs are not those that the bundle's description says.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    make_inputs = _inputs(about)
    expected, found = set(make_inputs([row])), {item.name for item in session.get_inputs()}
    if expected != found:
        raise ModelError(f"model.onnx has the inputs {sorted(found)}, but model.json asks for {sorted(expected)}")
    run, outputs = session.run, [OUTPUT]

    def predict(rows: Rows) -> Probabilities:
        answered: Probabilities = run(outputs, make_inputs(rows))[0]
        return answered

    if about.layout == "matrix":
        answer = predict([row])
        if answer.dtype == np.float32 and answer.ndim == 2:
            return _FewRows(session, about, answer.shape[1], predict)
    return predict


class _FewRows:
    """Answers few rows from arrays that are bound to the session once: half of what a call with its own takes."""

    def __init__(self, session: "InferenceSession", about: ServedModel, classes: int, predict: Predict) -> None:
        places = _places(about)
        self._pick = None if places is None else itemgetter(*places)
        self._session = session
        self._shape = len(about.data.features), classes
        self._predict = predict
        self._bound: dict[int, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, rows: Rows) -> Probabilities:
        if len(rows) > FEW:
            return self._predict(rows)
        with self._lock:
            given, answered, binding = self._bound.get(len(rows)) or self._bind(len(rows))
            values: Any = list(map(self._pick, rows)) if self._pick else rows
            given[:] = values
            self._session.run_with_iobinding(binding)
            return answered.copy()

    def _bind(self, rows: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Any]:
        from onnxruntime import OrtValue

        given, answered = (np.zeros((rows, width), dtype=np.float32) for width in self._shape)
        binding = self._session.io_binding()
        # Their memory is the arrays' own.
        binding.bind_ortvalue_input("features", OrtValue.ortvalue_from_numpy(given))
        binding.bind_ortvalue_output(OUTPUT, OrtValue.ortvalue_from_numpy(answered))
        self._bound[rows] = given, answered, binding
        return self._bound[rows]


def _places(about: ServedModel) -> list[int] | None:
    """Where the features are in a row; none when they are the row."""
    position = {column.name: i for i, column in enumerate(about.data.columns)}
    places = [position[column.name] for column in about.data.features]
    return None if places == list(range(len(about.data.columns))) else places


def _inputs(about: ServedModel) -> Callable[[Rows], dict[str, npt.NDArray[Any]]]:
    """The ONNX inputs of rows, by the bundle's layout."""
    if about.layout == "matrix":
        places = _places(about)
        if places is None:
            return lambda rows: {"features": np.array(rows, dtype=np.float32)}
        return lambda rows: {"features": np.array([[row[i] for i in places] for row in rows], dtype=np.float32)}
    if about.layout != "columns":
        raise ModelError(f"model.json: unknown layout {about.layout!r}; it must be matrix or columns")
    position = {column.name: i for i, column in enumerate(about.data.columns)}
    features = [(column.name, position[column.name], column.type == "category") for column in about.data.features]

    def columns(rows: Rows) -> dict[str, npt.NDArray[Any]]:
        # A missing number is NaN (numpy's reading of None), a missing category the empty text.
        return {
            name: np.array([[row[i] or ""] for row in rows], dtype=object)
            if text
            else np.array([[row[i]] for row in rows], dtype=np.float32)
            for name, i, text in features
        }

    return columns
