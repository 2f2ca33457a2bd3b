"""Small processes that stand for the parts of the embedded stack."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.stack.processes import Component, Processes
from mlops.settings import Settings

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, state_dir=tmp_path / "state")


@pytest.fixture
def processes(settings: Settings) -> Iterator[Processes]:
    processes = Processes(settings.state)
    yield processes
    for record in processes.records():
        processes.stop(record.name)


@pytest.fixture
def make(settings: Settings) -> Callable[..., Component]:
    def make(name: str, code: str = SLEEP, **fields: object) -> Component:
        component = Component(
            name=name,
            command=(sys.executable, "-c", code),
            cwd=settings.home,
            env=settings.environment(),
            ready=lambda _: True,
            address=name,
            stop_seconds=1,
        )
        return replace(component, **fields)  # type: ignore[arg-type]

    return make
