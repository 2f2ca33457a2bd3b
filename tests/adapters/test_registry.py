"""The contract of the registry, run against MLflow's own store and against the fake."""

from pathlib import Path

import pytest

from mlops.adapters.registry import CHALLENGER, CHAMPION, MlflowRegistry, Registry, RegistryError
from tests.fakes.registry import FakeRegistry

FILES = {"card.md": b"# card"}


# MLflow and SQLAlchemy warn of their own internals.
pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|pydantic)", "ignore::ResourceWarning")


@pytest.fixture(params=["mlflow", "fake"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    if request.param == "fake":
        return FakeRegistry()
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts of a file database beside it.
    return MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db")


def register(registry: Registry, digest: str) -> str:
    run = registry.log_run("iris", "tree", {"depth": 3}, {"accuracy": 0.9}, {"snapshot": "s"})
    return registry.register("iris", run, digest, "s", FILES).version


def test_a_bundle_has_one_version_and_aliases_move(registry: Registry) -> None:
    assert registry.latest("iris") is None
    assert registry.alias("iris", CHAMPION) is None
    assert register(registry, "d1") == "1"
    assert register(registry, "d2") == "2"
    assert register(registry, "d1") == "1"
    assert registry.latest("iris") == registry.version("iris", "2")
    assert registry.version("iris", "1").digest == "d1"
    assert registry.find("iris", "none") is None

    registry.set_alias("iris", CHALLENGER, "2")
    registry.set_alias("iris", CHAMPION, "1")
    assert registry.alias("iris", CHALLENGER) == registry.version("iris", "2")
    registry.set_alias("iris", CHALLENGER, None)
    assert registry.alias("iris", CHALLENGER) is None
    assert registry.alias("iris", CHAMPION) == registry.version("iris", "1")
    with pytest.raises(RegistryError, match="'9' of iris"):
        registry.version("iris", "9")
