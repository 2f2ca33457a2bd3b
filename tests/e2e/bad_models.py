"""Models that pass every test before PROD and are bad in it: one that fails on some values, one that is slow."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlops.core.bundle import ServedModel
from mlops.spec import ModelSpec
from tests.e2e.iris import rows

Files = dict[str, bytes]
Array = npt.NDArray[Any]
Nodes = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def failing(spec: ModelSpec) -> Callable[[Files], Files]:
    """A model that raises for values above all that its tests use, in the feature where most flowers have such."""

    def change(files: Files) -> Files:
        tested = [golden.record for golden in msgspec.json.decode(files["model.json"], type=ServedModel).golden]
        tested += [golden.record for golden in spec.release.golden]
        frame, names = rows(), [column.name for column in spec.data.columns]
        highest = {name: max(float(record[name] or 0) for record in tested) for name in names}
        name = max(names, key=lambda each: (frame[each] > highest[each]).sum())
        assert (frame[name] > highest[name]).sum() >= 5
        return files | {"model.onnx": _extended(files["model.onnx"], _fail(names.index(name), highest[name]))}

    return change


def slow(multiplications: int) -> Callable[[Files], Files]:
    """A model that multiplies large matrices before it answers."""
    return lambda files: files | {"model.onnx": _extended(files["model.onnx"], _multiply(multiplications))}


def _fail(feature: int, limit: float) -> Nodes:
    # Gather with an index beyond its only item is an error of the runtime.
    nodes = [
        helper.make_node("Gather", ["features", "own_feature"], ["own_value"], axis=1),
        helper.make_node("ReduceMax", ["own_value"], ["own_max"], keepdims=0),
        helper.make_node("Greater", ["own_max", "own_limit"], ["own_above"]),
        helper.make_node("Cast", ["own_above"], ["own_index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["own_one", "own_index"], ["own_factor"], axis=0),
    ]
    constants: dict[str, Array] = {
        "own_feature": np.array([feature], dtype=np.int64),
        "own_limit": np.array(limit + 0.01, dtype=np.float32),
        "own_one": np.array([1], dtype=np.float32),
    }
    return nodes, _tensors(constants)


def _multiply(times: int) -> Nodes:
    nodes = [
        helper.make_node("ReduceSum", ["features"], ["own_sum"], keepdims=0),
        helper.make_node("Mul", ["own_sum", "own_zeros"], ["own_product_0"]),
    ]
    for i in range(times):
        nodes.append(helper.make_node("MatMul", [f"own_product_{i}", "own_zeros"], [f"own_product_{i + 1}"]))
    nodes += [
        helper.make_node("ReduceSum", [f"own_product_{times}"], ["own_nothing"], keepdims=0),
        helper.make_node("Add", ["own_nothing", "own_unit"], ["own_factor"]),
    ]
    return nodes, _tensors({"own_zeros": np.zeros((700, 700), np.float32), "own_unit": np.array(1, dtype=np.float32)})


def _tensors(constants: dict[str, Array]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(value, name) for name, value in constants.items()]


def _extended(data: bytes, added: Nodes) -> bytes:
    """Multiply a model's probabilities by the ``own_factor`` that the added nodes compute, which is 1."""
    model, (nodes, constants) = onnx.load_from_string(data), added
    graph = model.graph
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name == "probabilities":
                node.output[i] = "own_probabilities"
        for i, name in enumerate(node.input):
            if name == "probabilities":
                node.input[i] = "own_probabilities"
    graph.node.extend([*nodes, helper.make_node("Mul", ["own_probabilities", "own_factor"], ["probabilities"])])
    graph.initializer.extend(constants)
    return bytes(model.SerializeToString())
