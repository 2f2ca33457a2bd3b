"""A bundle holds what serving, drift and people need, in the same bytes from every process."""

import io
import os
import subprocess
import sys
from pathlib import Path

import joblib
import msgspec
import numpy as np
import pytest
from pandas import DataFrame, Series, read_parquet

from mlops.core.assembly import bundle_files, record
from mlops.core.bundle import ServedModel
from mlops.core.drift import Reference
from mlops.core.evaluation import Metrics, evaluate
from mlops.core.training import ConversionError, fit, onnx_probabilities, probabilities, split
from mlops.spec import ModelSpec

ASSEMBLE = """
import pathlib, sys, pandas
from mlops import spec
from mlops.core import assembly, bundle, evaluation, training
for asked in sys.argv[2:]:
    name, candidate_name = asked.split(":")
    folder = pathlib.Path(sys.argv[1])
    model = spec.load(folder, name)
    candidate = next(c for c in model.training.candidates if c.name == candidate_name)
    train, holdout = training.split(pandas.read_parquet(folder / f"{name}.parquet"), model)
    estimator = training.fit(candidate, model, train)
    shares = training.probabilities(estimator, holdout, model.data)
    metrics = evaluation.evaluate(holdout[model.data.target.name], shares, model.data.target.classes)
    files = assembly.bundle_files(model, "5" * 64, candidate, estimator, train, holdout, metrics)
    manifest = bundle.build_manifest(name, "5" * 64, files)
    print(asked, manifest.digest, *sorted(manifest.files.items()))
"""


def assemble(spec: ModelSpec, name: str, frame: DataFrame) -> tuple[dict[str, bytes], DataFrame]:
    """Train one candidate and return its bundle's files and the holdout."""
    candidate = next(c for c in spec.training.candidates if c.name == name)
    train, holdout = split(frame, spec)
    estimator = fit(candidate, spec, train)
    shares = probabilities(estimator, holdout, spec.data)
    metrics = evaluate(holdout[spec.data.target.name], shares, spec.data.target.classes)
    return bundle_files(spec, "5" * 64, candidate, estimator, train, holdout, metrics), holdout


@pytest.fixture(scope="module")
def mixed(mixed_spec: ModelSpec, mixed_frame: DataFrame) -> tuple[dict[str, bytes], DataFrame]:
    """Return a boosting bundle and its holdout."""
    return assemble(mixed_spec, "boosting", mixed_frame)


def test_golden_records_are_answered_by_the_served_form(
    mixed: tuple[dict[str, bytes], DataFrame], mixed_spec: ModelSpec
) -> None:
    files, holdout = mixed
    served = msgspec.json.decode(files["model.json"], type=ServedModel)
    assert (served.model, served.data, served.format, served.layout) == ("mixed", mixed_spec.data, "onnx", "columns")
    assert len(served.golden) == 5
    first = served.golden[0].record
    assert set(first) == {c.name for c in mixed_spec.data.columns}
    assert first["sent"] == holdout["sent"][0].strftime("%Y-%m-%dT%H:%M:%SZ")
    assert isinstance(first["parcel"], int)
    asked = DataFrame([golden.record for golden in served.golden])
    answers = onnx_probabilities(files["model.onnx"], asked, mixed_spec.data)
    assert answers.tolist() == [list(golden.probabilities) for golden in served.golden]


def test_missing_values_are_null_in_records(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    row = mixed_frame[mixed_frame["weight"].isna() & mixed_frame["carrier"].isna()].iloc[0]
    found = record(row, mixed_spec.data)
    assert (found["weight"], found["carrier"]) == (None, None)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_pickled_and_served_forms_agree(mixed: tuple[dict[str, bytes], DataFrame], mixed_spec: ModelSpec) -> None:
    files, holdout = mixed
    estimator = joblib.load(io.BytesIO(files["model.joblib"]))
    trained = probabilities(estimator, holdout, mixed_spec.data)
    assert np.abs(trained - onnx_probabilities(files["model.onnx"], holdout, mixed_spec.data)).max() < 1e-5


def test_metrics_profile_and_card(mixed: tuple[dict[str, bytes], DataFrame]) -> None:
    files, holdout = mixed
    metrics = msgspec.json.decode(files["metrics.json"], type=Metrics)
    assert metrics.rows == len(holdout)
    profile = msgspec.json.decode(files["profile.json"], type=Reference)
    assert (profile.rows, profile.holdout.rows) == (900, 300)
    card = files["card.md"].decode()
    for text in ("# mixed", "Whether a parcel is late.", "5" * 64, "boosting", "`max_iter=25`", "900 to train", "kg"):
        assert text in card
    assert f"{metrics.log_loss:.4f}" in card


def test_reference_rows_hold_answers_of_the_served_form(
    mixed: tuple[dict[str, bytes], DataFrame], mixed_spec: ModelSpec
) -> None:
    files, holdout = mixed
    rows = read_parquet(io.BytesIO(files["reference.parquet"]))
    shares = [f"probability_{name}" for name in mixed_spec.data.target.classes]
    assert list(rows) == [*holdout, "prediction", *shares]
    assert rows[list(holdout)].equals(holdout)
    assert (rows[shares].idxmax(axis=1) == "probability_" + rows["prediction"]).all()
    assert np.allclose(rows[shares].sum(axis=1), 1, atol=1e-5)


def test_reference_rows_are_few(iris_spec: ModelSpec, iris_frame: DataFrame) -> None:
    many = iris_frame.loc[np.tile(iris_frame.index, 40)].reset_index(drop=True)
    files, holdout = assemble(iris_spec, "tree", many)
    assert len(holdout) == 2400
    assert len(read_parquet(io.BytesIO(files["reference.parquet"]))) == 2000


def test_joblib_bundles_have_no_onnx_form(iris_spec: ModelSpec, iris_frame: DataFrame) -> None:
    files, _ = assemble(msgspec.structs.replace(iris_spec, serving_format="joblib"), "tree", iris_frame)
    assert "model.onnx" not in files
    assert msgspec.json.decode(files["model.json"], type=ServedModel).format == "joblib"


def test_an_estimator_without_onnx_form_makes_no_onnx_bundle(iris_spec: ModelSpec, iris_frame: DataFrame) -> None:
    from sklearn.dummy import DummyClassifier

    dummy = DummyClassifier().fit(iris_frame[["SepalWidthCm"]], iris_frame["Species"])
    metrics = evaluate(Series(["0"]), np.array([[1.0, 0, 0]]), iris_spec.data.target.classes)
    with pytest.raises(ConversionError):
        bundle_files(iris_spec, "5" * 64, iris_spec.training.candidates[0], dummy, iris_frame, iris_frame, metrics)


def test_two_processes_make_the_same_bundles(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for model in ("iris", "mixed"):
        (tmp_path / f"{model}.yaml").write_bytes(msgspec.yaml.encode(request.getfixturevalue(f"{model}_spec")))
        request.getfixturevalue(f"{model}_frame").to_parquet(tmp_path / f"{model}.parquet")
    asked = ["iris:tree", "mixed:boosting", "mixed:forest", "mixed:logistic", "mixed:vote"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ASSEMBLE, str(tmp_path), *asked],
            env=os.environ | changes, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )
        for changes in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2", "TZ": "Asia/Tokyo"})
    ]  # fmt: skip
    first, second = (process.communicate(timeout=180)[0].splitlines() for process in running)
    assert [line.split()[0] for line in first] == asked
    assert first == second
