"""A subject is decided once, and what was decided can be read in order."""

from pathlib import Path

from mlops.adapters.ledger import Ledger, version_subject
from mlops.adapters.store import FolderStore


def test_the_first_decision_stands(tmp_path: Path) -> None:
    ledger = Ledger(FolderStore(tmp_path), "iris")
    first, new = ledger.record("verdict", "w1", "retrain", reasons=("loss",), numbers={"rows": 100})
    again, repeated = ledger.record("verdict", "w1", "ok")
    assert (new, repeated) == (True, False)
    assert again == first
    assert ledger.find("verdict", "w1") == first
    assert ledger.find("verdict", "w2") is None
    assert ledger.find("gate", "w1") is None


def test_the_newest_decision_on_a_bundle_counts(tmp_path: Path) -> None:
    ledger = Ledger(FolderStore(tmp_path), "iris")
    for subject, decision, digest in (("a", "refused", "d1"), ("b", "accepted", "d1"), ("c", "refused", "d2")):
        ledger.record("gate", subject, decision, numbers={"digest": digest, "rows": 60})
    found = ledger.newest("gate", digest="d1")
    assert found is not None
    assert found.decision == "accepted"
    assert ledger.newest("gate", digest="d3") is None
    assert ledger.newest("release", digest="d1") is None


def test_entries_are_in_the_order_of_their_time(tmp_path: Path) -> None:
    ledger = Ledger(FolderStore(tmp_path), "iris")
    for kind, subject in (("gate", "version-10"), ("verdict", "b"), ("gate", "version-9")):
        ledger.record(kind, subject, "accepted")
    assert [entry.subject for entry in ledger.entries()] == ["version-10", "b", "version-9"]
    assert [entry.subject for entry in ledger.entries("gate")] == ["version-10", "version-9"]
    assert Ledger(FolderStore(tmp_path), "flights").entries() == []


def test_decisions_of_one_kind_are_found_by_what_was_decided(tmp_path: Path) -> None:
    ledger = Ledger(FolderStore(tmp_path), "iris")
    for kind, run, decision in (
        ("release", "b", "released"), ("release", "c", "refused"), ("release", "a", "released"),
        ("rollback", "d", "released"),
    ):  # fmt: skip
        ledger.record(kind, version_subject("1", run), decision)
    assert [entry.subject for entry in ledger.decided("release", "released")] == ["version-1-b", "version-1-a"]
    assert ledger.decided("release", "rejected") == []
