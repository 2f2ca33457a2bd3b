"""Fixtures of several tests of the prediction log."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlops.adapters.prediction_log import (
    PredictionLog,
)
from tests.adapters.logged import FlakyStore, spool


@pytest.fixture
def store(tmp_path: Path) -> FlakyStore:
    return FlakyStore(tmp_path / "store")


@pytest.fixture
def open_log(store: FlakyStore, tmp_path: Path) -> Iterator[Callable[..., PredictionLog]]:
    opened: list[PredictionLog] = []

    def open_log(environment: str = "prod", **options: Any) -> PredictionLog:
        opened.append(
            PredictionLog(store, "m", environment, spool(tmp_path, environment), **({"retry_seconds": 0.01} | options))
        )
        opened[-1].start()
        return opened[-1]

    yield open_log
    store.away = False
    for log in opened:
        log.close(timeout=1)
