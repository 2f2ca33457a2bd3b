"""A run lives while its sign changes, whatever became of its process."""

import threading
import time
from pathlib import Path

import pytest

from mlops.adapters.life import SignOfLife, life_key, lives
from mlops.adapters.store import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_a_run_lives_until_it_ends(store: FolderStore) -> None:
    with SignOfLife(store, "m", "run", beat_seconds=0.02):
        assert store.etag(life_key("m", "run"))
        assert lives(store, "m", "run", 5)
        assert not lives(store, "m", "another", 0.1)
    assert store.etag(life_key("m", "run")) is None
    assert not lives(store, "m", "run", 0.1)


def test_a_sign_that_no_longer_changes_is_a_dead_runs(store: FolderStore) -> None:
    store.put(life_key("m", "run"), b"17")
    assert not lives(store, "m", "run", 0.2)
    assert store.list("m/") == []


def test_a_run_whose_first_sign_comes_meanwhile_lives(store: FolderStore) -> None:
    late = threading.Timer(0.2, store.put, (life_key("m", "run"), b"0"))
    late.start()
    assert lives(store, "m", "run", 5)
    late.join()


def test_an_outage_of_the_store_is_survived(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = FolderStore.put
    with SignOfLife(store, "m", "run", beat_seconds=0.02):
        monkeypatch.setattr(FolderStore, "put", lambda *_: (_ for _ in ()).throw(OSError("away")))
        assert not lives(store, "m", "run", 0.2)
        monkeypatch.setattr(FolderStore, "put", put)
        deadline = time.monotonic() + 5
        while not lives(store, "m", "run", 0.5):
            assert time.monotonic() < deadline
