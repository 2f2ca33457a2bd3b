"""Fixtures of several tests of tasks."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.tasks import world as loop_world
from tests.tasks.release_world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.services.close()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., loop_world.World]:
    def build(**drift: Any) -> loop_world.World:
        world = loop_world.World(monkeypatch, **drift)
        world.begin()
        return world

    return build
