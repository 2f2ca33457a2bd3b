"""The pipeline and the ONNX session see the same values."""

import numpy as np
from pandas import DataFrame

from mlops.core.features import features, layout, onnx_inputs
from mlops.spec import ModelSpec


def test_features_leave_out_keys_times_and_target(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    seen = features(mixed_frame, mixed_spec.data)
    assert list(seen) == ["weight", "carrier", "zone", "size"]
    assert [str(seen[c].dtype) for c in ("weight", "zone")] == ["float32", "float32"]


def test_missing_numbers_stay_and_missing_categories_are_empty_text(
    mixed_frame: DataFrame, mixed_spec: ModelSpec
) -> None:
    for frame in (mixed_frame, mixed_frame.astype({"carrier": object})):
        seen = features(frame, mixed_spec.data)
        assert seen["weight"].isna().equals(frame["weight"].isna())
        assert (seen["carrier"] == "").equals(frame["carrier"].isna())


def test_numeric_models_take_one_matrix(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    assert layout(iris_spec.data) == "matrix"
    inputs = onnx_inputs(iris_frame, iris_spec.data)
    assert list(inputs) == ["features"]
    assert inputs["features"].dtype == np.float32
    assert inputs["features"].tolist()[0] == np.array([5.1, 3.5, 1.4, 0.2], dtype=np.float32).tolist()


def test_mixed_models_take_one_tensor_a_column(mixed_frame: DataFrame, mixed_spec: ModelSpec) -> None:
    assert layout(mixed_spec.data) == "columns"
    inputs = onnx_inputs(mixed_frame, mixed_spec.data)
    assert {name: (tensor.shape, tensor.dtype.kind) for name, tensor in inputs.items()} == {
        "weight": ((1200, 1), "f"),
        "carrier": ((1200, 1), "O"),
        "zone": ((1200, 1), "f"),
        "size": ((1200, 1), "O"),
    }
    assert {type(value) for value in inputs["carrier"][:, 0]} == {str}
