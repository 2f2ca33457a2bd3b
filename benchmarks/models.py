"""The models that are compared: a tree on iris, a forest on harder data, each as one estimator and one bundle."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pandas import DataFrame

from mlops.adapters import bundles
from mlops.adapters.store import open_store
from mlops.core.bundle import Golden, ServedModel
from mlops.core.schema import Schema
from mlops.core.serving import Served, ServingState, state_key
from mlops.core.training import fit, probabilities, to_onnx
from mlops.spec import Candidate, ModelSpec, load

MODELS = {"tree": "decision tree on iris", "forest": "random forest of 100 trees on 4 features"}
FOREST_ROWS = 2000
BATCH = 1000


@dataclass(frozen=True)
class Subject:
    """A model and a record whose answer is known."""

    name: str
    title: str
    record: dict[str, float]
    answer: str
    """The class that every server must answer."""
    pickle: Path
    """The classifier alone, as the other servers load it."""
    onnx: bytes


def build(name: str, folder: Path, models_dir: Path) -> Subject:
    """Train a model and release it in the store in ``folder / "store"``, without flows.

    The other servers get the bare classifier, without our imputer, which costs them nothing and saves them time.
    """
    import joblib

    iris = load(models_dir, "iris")
    spec = msgspec.structs.replace(iris, name=name, training=_training(iris, name))
    frame = _iris(iris.data) if name == "tree" else _clouds(iris.data)
    estimator: Any = fit(spec.training.candidates[0], spec, frame)
    names = [column.name for column in spec.data.columns]
    record = {key: float(frame[key].iloc[-1]) for key in names}
    answers = probabilities(estimator, DataFrame([record]), spec.data)[0]
    onnx = to_onnx(estimator, spec.data)
    about = ServedModel(
        model=name,
        data=spec.data,
        format="onnx",
        layout="matrix",
        golden=(Golden({**record}, tuple(answers.tolist())),),
    )
    _release(folder, about, onnx)
    pickled = io.BytesIO()
    joblib.dump(estimator[-1], pickled)
    file = folder / f"{name}.joblib"
    file.write_bytes(pickled.getvalue())
    return Subject(name, MODELS[name], record, spec.data.target.classes[answers.argmax()], file, onnx)


def _training(iris: ModelSpec, name: str) -> Any:
    if name == "tree":
        return iris.training
    forest = Candidate(name="forest", estimator="random_forest", params={"n_estimators": 100, "random_state": 1984})
    return msgspec.structs.replace(iris.training, candidates=(forest,))


def _iris(schema: Schema) -> DataFrame:
    from sklearn.datasets import load_iris

    return _frame(schema, *load_iris(return_X_y=True))


def _clouds(schema: Schema) -> DataFrame:
    """Three overlapping classes, so that the trees grow deep; all values within the schema's bounds."""
    random = np.random.default_rng(1984)
    labels = random.integers(0, 3, FOREST_ROWS)
    return _frame(schema, random.normal(10 + labels[:, None], 1.5, (FOREST_ROWS, 4)).clip(0.2, 29).round(2), labels)


def _frame(schema: Schema, values: Any, labels: Any) -> DataFrame:
    frame = DataFrame(values, columns=[column.name for column in schema.columns])
    return frame.assign(**{schema.target.name: [str(label) for label in labels]})


def _release(folder: Path, about: ServedModel, onnx: bytes) -> None:
    store = open_store((folder / "store").as_uri())
    digest = bundles.save(
        store, about.model, "benchmark", {"model.json": msgspec.json.encode(about), "model.onnx": onnx}
    )
    state = ServingState(generation=1, champion=Served(digest, "1"))
    store.put(state_key(about.model, "prod"), msgspec.json.encode(state))
