"""Keys come from a file that may be replaced while the service runs."""

import time
from pathlib import Path

import pytest

from mlops.scoring.keys import KeyFile, Keys


def test_two_keys_are_valid_at_once_and_no_third(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("old\nnew\nthird\n")
    keys = KeyFile(file)
    assert [keys.allows(b"Bearer " + key) for key in (b"old", b"new", b"third", b"", b"ol")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_variable_holds_two_keys_and_no_third(caplog: pytest.LogCaptureFixture) -> None:
    keys = Keys("kiwi\nplum\nfig")
    assert [keys.allows(b"Bearer " + key) for key in (b"kiwi", b"plum", b"fig", b"")] == [True, True, False, False]
    assert not Keys("").allows(b"Bearer ")
    assert "kiwi" not in caplog.text


def test_the_scheme_is_bearer_in_any_case(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("key")
    keys = KeyFile(file)
    assert keys.allows(b"bearer key")
    assert not keys.allows(b"Basic key")
    assert not keys.allows(b"key")
    assert not keys.allows(None)


def test_a_new_key_counts_at_once_and_an_old_one_soon_no_more(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("old")
    keys = KeyFile(file)
    assert keys.allows(b"Bearer old")
    file.write_text("newer")
    assert keys.allows(b"Bearer newer")
    assert not keys.allows(b"Bearer old")
    file.write_text("newest")
    deadline = time.monotonic() + 10
    while keys.allows(b"Bearer newer"):
        assert time.monotonic() < deadline
    assert keys.allows(b"Bearer newest")


def test_a_replaced_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.scoring.keys.REFRESH_SECONDS", 0)
    file, draft = tmp_path / "keys", tmp_path / "draft"
    file.write_text("one")
    keys = KeyFile(file)
    assert keys.allows(b"Bearer one")
    draft.write_text("two")
    draft.replace(file)
    assert not keys.allows(b"Bearer one")
    assert keys.allows(b"Bearer two")
    file.unlink()
    assert not keys.allows(b"Bearer two")


def test_without_keys_everything_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert not KeyFile(file).allows(b"Bearer ")
    file.write_text("\n\n")
    assert not KeyFile(file).allows(b"Bearer ")
