"""The ledger: append-only record of every decision, one object per subject in the store.

A subject is decided once: the second writer gets the first one's entry back.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import msgspec

from mlops.adapters.store import Conflict, NotFound, Store

KINDS = (
    "gate", "approval", "release", "rollback", "window", "provisional", "verdict", "claim", "retraining", "follow_up",
    "refresh", "outcome",
)  # fmt: skip
"""What is decided: on versions, then in the loop."""
READERS = 8
"""Entries read at once."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: what about, what was decided, by whom, why, on which numbers."""

    model: str
    kind: str
    """One of ``KINDS``."""
    subject: str
    """What was decided on; with the kind it names the entry."""
    decision: str
    reasons: tuple[str, ...] = ()
    numbers: dict[str, Any] = {}
    actor: str = ""
    flow_run: str = ""
    time: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


def version_subject(version: str, run: str) -> str:
    """The subject of what a flow run decided on a version; by it later runs find how that run ended."""
    return f"version-{version}-{run}"


class Ledger:
    """The decisions on one model."""

    def __init__(self, store: Store, model: str) -> None:
        self.store = store
        self.model = model
        self._known: dict[str, Entry] = {}  # An entry never changes, so each is read once.

    def record(self, kind: str, subject: str, decision: str, **details: Any) -> tuple[Entry, bool]:
        """Write a decision unless the subject has one; return the entry that stands, and whether it is new."""
        entry = Entry(model=self.model, kind=kind, subject=subject, decision=decision, **details)
        try:
            self.store.put_if_absent(self._key(kind, subject), msgspec.json.encode(entry))
        except Conflict:
            return self._read(self._key(kind, subject)), False
        return entry, True

    def find(self, kind: str, subject: str) -> Entry | None:
        """The decision on a subject, if there is one."""
        try:
            return self._read(self._key(kind, subject))
        except NotFound:
            return None

    def newest(self, kind: str, **numbers: Any) -> Entry | None:
        """The newest decision of a kind whose numbers hold these."""
        matching = (entry for entry in reversed(self.entries(kind)) if numbers.items() <= entry.numbers.items())
        return next(matching, None)

    def entries(self, kind: str | None = None) -> list[Entry]:
        """The decisions (of one kind), oldest first."""
        prefix = f"{self.model}/ledger/{kind}/" if kind else f"{self.model}/ledger/"
        with ThreadPoolExecutor(READERS) as readers:
            found = list(readers.map(self._read, self.store.list(prefix)))
        return sorted(found, key=lambda entry: (entry.time, entry.subject))

    def decided(self, kind: str, decision: str) -> list[Entry]:
        """The entries of a kind with this decision, oldest first."""
        return [entry for entry in self.entries(kind) if entry.decision == decision]

    def _read(self, key: str) -> Entry:
        if key not in self._known:
            self._known[key] = msgspec.json.decode(self.store.get(key), type=Entry)
        return self._known[key]

    def _key(self, kind: str, subject: str) -> str:
        return f"{self.model}/ledger/{kind}/{subject}.json"
