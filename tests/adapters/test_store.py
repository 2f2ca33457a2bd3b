"""The contract of every store, run against each implementation."""

import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlops.adapters.store import Conflict, FolderStore, NotFound, Store, StoreError, open_store
from mlops.settings import Settings
from tests.fakes.azurite import Azurite


@pytest.fixture(scope="module", params=["folder", "blob"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store of each kind; tests of this module use keys of their own in it."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "folder":
        return open_store((folder / "root").as_uri())
    azurite: Azurite = request.getfixturevalue("azurite")
    azurite.sign_in(folder)
    return open_store(azurite.container(), Settings(profile="azure", secrets_dir=folder))


@pytest.fixture
def store(opened: Store) -> Store:
    """An empty store."""
    for key in opened.list(""):
        opened.delete(key)
    return opened


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


Step = tuple[int, bool]
"""A writer, and whether it writes what it read last or reads again."""


@hypothesis_settings(max_examples=25, deadline=None, derandomize=True)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=25))
def test_however_writers_interleave_no_write_is_lost(opened: Store, steps: list[Step]) -> None:
    opened.put("counter", b"0")
    read = {writer: opened.get_with_etag("counter") for writer in range(3)}
    outcomes: Counter[str] = Counter()
    for writer, writes in steps:
        if not writes:
            read[writer] = opened.get_with_etag("counter")
            continue
        data, tag = read[writer]
        try:
            opened.put_if_match("counter", str(int(data) + 1).encode(), tag)
            outcomes["won"] += 1
        except Conflict:
            outcomes["lost"] += 1
        read[writer] = opened.get_with_etag("counter")
    assert int(opened.get("counter")) == outcomes["won"]
    assert outcomes.total() == sum(writes for _, writes in steps)


def test_concurrent_counters_add_up(store: Store) -> None:
    store.put("counter", b"0")

    def count() -> None:
        for _ in range(5):
            while True:
                data, tag = store.get_with_etag("counter")
                try:
                    store.put_if_match("counter", str(int(data) + 1).encode(), tag)
                    break
                except Conflict:
                    continue

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("counter") == b"15"


def test_of_many_creators_at_once_one_wins(store: Store) -> None:
    won: list[bytes] = []

    def create(data: bytes) -> None:
        try:
            store.put_if_absent("new", data)
        except Conflict:
            return
        won.append(data)

    threads = [threading.Thread(target=create, args=(str(number).encode(),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [store.get("new")]


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


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    assert store.list("iris/") == []
    store.root.symlink_to("store")  # A loop, which stands for a disk that fails.
    for use in (lambda: store.list("iris/"), lambda: store.etag("iris/a"), lambda: store.put("iris/a", b"")):
        with pytest.raises(OSError, match="symbolic links"):
            use()
