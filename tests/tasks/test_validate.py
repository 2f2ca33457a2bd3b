"""A version is judged by what its bundle holds."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import msgspec
import pytest

from tasks.validate import compare
from tests.tasks.world import World

Format = Literal["onnx", "joblib"]


@pytest.mark.parametrize(("trained", "now"), [("onnx", "joblib"), ("joblib", "onnx")])
def test_a_version_is_judged_by_the_form_it_was_trained_to_serve(
    make: Callable[..., World], trained: Format, now: Format
) -> None:
    world = make()
    serve_as(world, trained)
    version = world.train()
    decision = compare.fn("iris", version)
    serve_as(world, now)
    assert compare.fn("iris", version) == decision


def serve_as(world: World, form: Format) -> None:
    """Let the spec ask for another served form from now on."""
    opened = world.context
    world.context = dataclasses.replace(opened, spec=msgspec.structs.replace(opened.spec, serving_format=form))
    vars(world.context).update(registry=world.registry)
