"""The contract of every store, run against each implementation."""

import threading
from pathlib import Path

import pytest

from mlops.adapters.store import Conflict, FolderStore, NotFound, Store, StoreError, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path.as_uri())


def test_what_was_put_is_got(store: Store) -> None:
    tag = store.put("iris/landing/a.csv", b"one")
    assert store.get("iris/landing/a.csv") == b"one"
    assert store.get_with_etag("iris/landing/a.csv") == (b"one", tag)
    assert store.etag("iris/landing/a.csv") == tag


def test_absent_objects_are_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="iris/none"):
        store.get("iris/none")
    assert store.etag("iris/none") is None
    store.delete("iris/none")


def test_put_if_absent_never_replaces(store: Store) -> None:
    store.put_if_absent("k", b"first")
    with pytest.raises(Conflict, match="k exists"):
        store.put_if_absent("k", b"second")
    assert store.get("k") == b"first"


def test_put_if_match_replaces_only_what_was_read(store: Store) -> None:
    tag = store.put("k", b"1")
    newer = store.put_if_match("k", b"2", tag)
    with pytest.raises(Conflict):
        store.put_if_match("k", b"3", tag)
    assert store.get_with_etag("k") == (b"2", newer)
    store.delete("k")
    with pytest.raises(Conflict):
        store.put_if_match("k", b"4", newer)
    assert store.etag("k") is None


def test_lists_by_prefix_sorted(store: Store) -> None:
    for key in ("a/b/2", "a/b/1", "a/bc/1", "b/1"):
        store.put(key, b"")
    assert store.list("a/b") == ["a/b/1", "a/b/2", "a/bc/1"]
    assert store.list("a/b/") == ["a/b/1", "a/b/2"]
    assert store.list("none/") == []


def test_of_many_writers_at_once_one_wins(store: Store) -> None:
    tag = store.put("k", b"0")
    won: list[int] = []

    def write(number: int) -> None:
        try:
            store.put_if_match("k", str(number).encode(), tag)
        except Conflict:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in won] == [store.get("k")]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "../a", "a/../b", "a/.hidden", "a\\b", "a/"])
def test_keys_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="key"):
        store.put(key, b"")


def test_a_half_written_object_is_not_listed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a/b", b"1")
    (tmp_path / "a" / ".put-crashed").write_bytes(b"half")
    assert store.list("a/") == ["a/b"]
    assert store.list("") == ["a/b"]


def test_an_unknown_scheme_names_the_setting() -> None:
    with pytest.raises(StoreError, match="MLOPS_STORE"):
        open_store("ftp://host/x")
