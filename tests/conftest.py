"""Every test has a state directory of its own, reads no setting of the machine, and leaves none behind."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from deployments.stack.processes import let_children_heed_interrupts

pytest_plugins = ["tests.fakes.azurite", "tests.infra.prefect_server", "tests.infra.twin"]


def _forget_settings() -> None:
    for name in [name for name in os.environ if name.startswith("MLOPS_")]:
        del os.environ[name]


# Also here: fixtures of whole modules are made before those of a test. make exports the profile, for one.
_forget_settings()
let_children_heed_interrupts()
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path) -> Iterator[Path]:
    with patch.dict(os.environ):
        _forget_settings()
        os.environ["MLOPS_STATE_DIR"] = str(tmp_path / "state")
        yield tmp_path / "state"
