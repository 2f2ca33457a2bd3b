"""Assembly: all files of a bundle from one training run, the same bytes every time."""

import io
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series, isna

from mlops.core.bundle import Golden, ServedModel
from mlops.core.evaluation import Metrics, markdown
from mlops.core.features import layout
from mlops.core.schema import Column, Schema
from mlops.core.training import onnx_probabilities, probabilities, to_onnx
from mlops.spec import Candidate, ModelSpec

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

GOLDEN_ROWS = 5
REFERENCE_ROWS = 2000
LIBRARIES = ("scikit-learn", "numpy", "pandas", "skl2onnx", "onnx")
"""Those whose versions can change what a training run produces."""


def bundle_files(
    spec: ModelSpec,
    snapshot: str,
    candidate: Candidate,
    estimator: "ClassifierMixin",
    train: DataFrame,
    holdout: DataFrame,
    metrics: Metrics,
) -> dict[str, bytes]:
    """Make the files of a bundle from typed, labelled rows; nothing in them depends on time or process.

    The reference profile, the reference rows and the golden answers hold what the served form says.

    Raises:
        ConversionError: the spec asks for ONNX and the estimator does not convert.
    """
    from mlops.core.drift import reference

    schema = spec.data
    files = {"model.joblib": _pickled(estimator)}
    if spec.serving_format == "onnx":
        files["model.onnx"] = to_onnx(estimator, schema)
        answers = onnx_probabilities(files["model.onnx"], holdout, schema)
    else:
        answers = probabilities(estimator, holdout, schema)
    profile = reference(
        train[[c.name for c in schema.columns]], schema, holdout[schema.target.name], answers, holdout=holdout
    )
    return files | {
        "model.json": _json(served_model(spec, holdout, answers)),
        "metrics.json": _json(metrics),
        "profile.json": _json(profile),
        "reference.parquet": _reference_rows(spec, holdout, answers),
        "card.md": card(spec, snapshot, candidate, len(train), metrics).encode(),
    }


def served_model(spec: ModelSpec, holdout: DataFrame, answers: NDArray[np.float64]) -> ServedModel:
    """Describe what serves, with the first holdout rows as records of known answers."""
    golden = tuple(
        Golden(record(row, spec.data), tuple(map(float, answer)))
        for (_, row), answer in zip(holdout.head(GOLDEN_ROWS).iterrows(), answers, strict=False)
    )
    return ServedModel(
        model=spec.name, data=spec.data, format=spec.serving_format, layout=layout(spec.data), golden=golden
    )


def record(row: "Series[Any]", schema: Schema) -> dict[str, str | float | int | None]:
    """Turn a typed row into a scoring record: plain JSON values, times in ISO 8601, missing as none."""
    return {c.name: _plain(row[c.name], c) for c in schema.columns}


def card(spec: ModelSpec, snapshot: str, candidate: Candidate, train_rows: int, metrics: Metrics) -> str:
    """Write the model card in Markdown."""
    params = ", ".join(f"`{name}={value}`" for name, value in candidate.params.items()) or "defaults"
    parts = [
        f"# {spec.name}",
        spec.description,
        "## Training",
        _table(
            ("", ""),
            ("target", f"`{spec.data.target.name}`, one of {', '.join(spec.data.target.classes)}"),
            ("snapshot", f"`{snapshot}`"),
            ("spec", f"`{spec.digest}`"),
            ("rows", f"{train_rows} to train on, {metrics.rows} held out ({spec.training.split.method})"),
            ("candidate", f"{candidate.name} ({candidate.estimator})"),
            ("parameters", params),
            ("served as", spec.serving_format),
        ),
        "## Holdout metrics",
        markdown(metrics, spec.data.target.classes).rstrip(),
        "## Columns",
        _table(("column", "type", "range", "unit", "meaning"), *map(_described, spec.data.columns)),
        "## Libraries",
        ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    ]
    return "\n\n".join(parts) + "\n"


def _pickled(estimator: "ClassifierMixin") -> bytes:
    import joblib

    joblib.dump(estimator, written := io.BytesIO())
    return written.getvalue()


def _json(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _reference_rows(spec: ModelSpec, holdout: DataFrame, answers: NDArray[np.float64]) -> bytes:
    classes = spec.data.target.classes
    frame = holdout[[*(c.name for c in spec.data.columns), spec.data.target.name]].reset_index(drop=True)
    frame["prediction"] = np.array(classes)[answers.argmax(axis=1)]
    for position, name in enumerate(classes):
        frame[f"probability_{name}"] = answers[:, position]
    if len(frame) > REFERENCE_ROWS:
        frame = frame.sample(REFERENCE_ROWS, random_state=spec.training.split.seed).sort_index()
    return frame.to_parquet(index=False)


def _plain(value: Any, column: Column) -> str | float | int | None:
    if isna(value):
        return None
    if column.type == "time":
        return str(value.isoformat()).replace("+00:00", "Z")
    if column.type == "category":
        return str(value)
    return int(value) if column.type == "integer" else float(value)


def _described(column: Column) -> Sequence[str]:
    low, high = ("" if bound is None else f"{bound:g}" for bound in (column.min, column.max))
    spread = ", ".join(column.values) or (f"{low} to {high}" if low or high else "")
    kind = column.type + (", may be missing" if column.nullable else "") + ("" if column.feature else ", no feature")
    return (f"`{column.name}`", kind, spread, column.unit, column.description)


def _table(*rows: Sequence[str]) -> str:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])
