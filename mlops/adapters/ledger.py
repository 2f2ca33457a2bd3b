"""The ledger: append-only record of every decision, one object per subject in the store.

A subject is decided once: the second writer gets the first one's entry back.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from mlops.adapters.store import Conflict, Store


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: what about, what was decided, by whom, why, on which numbers."""

    model: str
    kind: str
    """``gate``, ``approval``, ``release``, ``rollback``, ``verdict``, ``retraining`` or ``smoke``."""
    subject: str
    """What was decided on; with the kind it names the entry."""
    decision: str
    reasons: tuple[str, ...] = ()
    numbers: dict[str, Any] = {}
    actor: str = ""
    flow_run: str = ""
    time: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


class Ledger:
    """The decisions on one model."""

    def __init__(self, store: Store, model: str) -> None:
        self.store = store
        self.model = model

    def record(self, kind: str, subject: str, decision: str, **details: Any) -> tuple[Entry, bool]:
        """Write a decision unless the subject has one; return the entry that stands, and whether it is new."""
        entry = Entry(model=self.model, kind=kind, subject=subject, decision=decision, **details)
        try:
            self.store.put_if_absent(self._key(kind, subject), msgspec.json.encode(entry))
        except Conflict:
            return msgspec.json.decode(self.store.get(self._key(kind, subject)), type=Entry), False
        return entry, True

    def find(self, kind: str, subject: str) -> Entry | None:
        """The decision on a subject, if there is one."""
        key = self._key(kind, subject)
        if self.store.etag(key) is None:
            return None
        return msgspec.json.decode(self.store.get(key), type=Entry)

    def newest(self, kind: str, **numbers: Any) -> Entry | None:
        """The newest decision of a kind whose numbers hold these."""
        matching = (entry for entry in reversed(self.entries(kind)) if numbers.items() <= entry.numbers.items())
        return next(matching, None)

    def entries(self, kind: str | None = None) -> list[Entry]:
        """The decisions (of one kind), oldest first."""
        prefix = f"{self.model}/ledger/{kind}/" if kind else f"{self.model}/ledger/"
        found = [msgspec.json.decode(self.store.get(key), type=Entry) for key in self.store.list(prefix)]
        return sorted(found, key=lambda entry: (entry.time, entry.subject))

    def _key(self, kind: str, subject: str) -> str:
        return f"{self.model}/ledger/{kind}/{subject}.json"
