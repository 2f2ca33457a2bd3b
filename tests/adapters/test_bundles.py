"""Bundles are whole or not there, and are what their digest says."""

from pathlib import Path

import msgspec
import pytest

from mlops.adapters import bundles
from mlops.adapters.bundles import BundleError
from mlops.adapters.store import FolderStore

FILES = {"model.onnx": b"graph", "model.json": b"{}"}


def test_equal_bundles_have_one_digest(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    digest = bundles.save(store, "iris", "snapshot", FILES)
    assert bundles.save(store, "iris", "snapshot", dict(reversed(FILES.items()))) == digest
    assert bundles.save(store, "iris", "other snapshot", FILES) != digest
    assert bundles.load(store, "iris", digest) == FILES
    assert bundles.load(store, "iris", digest, "model.json") == {"model.json": b"{}"}


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_altered_files_are_refused(tmp_path: Path, name: str) -> None:
    store = FolderStore(tmp_path)
    digest = bundles.save(store, "iris", "snapshot", FILES)
    store.put(f"iris/bundles/{digest}/{name}", b"altered")
    with pytest.raises(BundleError, match=name):
        bundles.load(store, "iris", digest)


def test_a_bundle_without_its_manifest_is_not_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    digest = bundles.save(store, "iris", "snapshot", FILES)
    store.delete(f"iris/bundles/{digest}/manifest.json")
    with pytest.raises(BundleError, match="not in the store"):
        bundles.load(store, "iris", digest)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    digest = bundles.save(store, "iris", "snapshot", FILES)
    store.delete(f"iris/bundles/{digest}/model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        bundles.load(store, "iris", digest)
    with pytest.raises(BundleError, match=r"no file 'model\.joblib'"):
        bundles.load(store, "iris", digest, "model.joblib")


def test_one_file_is_read_alone_or_as_its_type(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    digest = bundles.save(store, "iris", "snapshot", {"model.onnx": b"graph", "rows.json": b'{"train": 3}'})
    assert bundles.read(store, "iris", digest, "model.onnx") == b"graph"
    assert bundles.decode(store, "iris", digest, "rows.json", dict[str, int]) == {"train": 3}
    with pytest.raises(msgspec.ValidationError, match="Expected `str`"):
        bundles.decode(store, "iris", digest, "rows.json", dict[str, str])
    with pytest.raises(BundleError, match=r"no file 'model\.joblib'"):
        bundles.read(store, "iris", digest, "model.joblib")
    store.put(f"iris/bundles/{digest}/rows.json", b"{}")
    with pytest.raises(BundleError, match=r"rows\.json: altered"):
        bundles.decode(store, "iris", digest, "rows.json", dict[str, int])
