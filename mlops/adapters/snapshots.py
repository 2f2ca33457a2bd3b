"""Snapshots: immutable curated data sets, Parquet parts and a manifest, named by its digest."""

import hashlib
import io
from typing import TYPE_CHECKING

import msgspec

from mlops.adapters.store import Conflict, NotFound, Store
from mlops.core.labels import REQUEST_ID, REQUEST_TIME
from mlops.core.schema import Schema

if TYPE_CHECKING:
    import pandas as pd


class SnapshotError(Exception):
    """A snapshot is absent or not what its digest says."""


class Source(msgspec.Struct, frozen=True, order=True):
    """An object that was read, by key and SHA-256; read once, whatever crashes."""

    key: str
    digest: str


class Part(msgspec.Struct, frozen=True):
    """A Parquet object of good rows; ``first`` and ``last`` bound its event time (ISO 8601)."""

    digest: str
    rows: int
    first: str | None = None
    last: str | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot holds and where it came from."""

    format: int = 1
    model: str
    parts: tuple[Part, ...]
    sources: tuple[Source, ...]

    @property
    def rows(self) -> int:
        """Rows over all parts, repeats included."""
        return sum(part.rows for part in self.parts)

    def encode(self) -> bytes:
        """The canonical JSON form, whose SHA-256 is the snapshot's id."""
        return msgspec.json.encode(self, order="deterministic")


class Snapshots:
    """The snapshots of one model; the pointer ``latest`` only moves by a conditional put."""

    def __init__(self, store: Store, model: str) -> None:
        self.store = store
        self.model = model
        self._latest = f"{model}/snapshots/latest.json"

    def latest(self) -> str | None:
        """The id of the newest snapshot."""
        try:
            return str(msgspec.json.decode(self.store.get(self._latest))["snapshot"])
        except NotFound:
            return None

    def manifest(self, snapshot: str) -> Manifest:
        """Read a manifest.

        Raises:
            SnapshotError: there is none, or it is not what the id names.
        """
        return msgspec.json.decode(self._manifest(snapshot), type=Manifest)

    def _manifest(self, snapshot: str) -> bytes:
        key = self._manifest_key(snapshot)
        try:
            data = self.store.get(key)
        except NotFound:
            raise SnapshotError(f"snapshot {snapshot} of {self.model} is not in the store ({key})") from None
        if hashlib.sha256(data).hexdigest() != snapshot:
            raise SnapshotError(f"{key}: its content is not what the id names")
        return data

    def put_part(self, frame: "pd.DataFrame", schema: Schema) -> Part:
        """Store good rows as a part; equal rows are stored once."""
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        self.store.put(self._part(digest), data)
        times = frame[schema.time] if schema.time and len(frame) else None
        first, last = (times.min().isoformat(), times.max().isoformat()) if times is not None else (None, None)
        return Part(digest=digest, rows=len(frame), first=first, last=last)

    def publish(self, parts: tuple[Part, ...], sources: tuple[Source, ...]) -> tuple[str, bool]:
        """Add parts and the sources that they came from; return the newest id and whether it is new.

        Sources that the newest snapshot has already are left out with nothing added, so two
        ingestions at once, or one that crashed after publishing, count every source once.
        """
        while True:
            try:
                pointer, etag = self.store.get_with_etag(self._latest)
                current = str(msgspec.json.decode(pointer)["snapshot"])
                held = self.manifest(current)
            except NotFound:
                current, etag, held = "", "", Manifest(model=self.model, parts=(), sources=())
            if not sources or set(sources) & set(held.sources):
                return current, False
            merged = Manifest(
                model=self.model, parts=held.parts + parts, sources=tuple(sorted((*held.sources, *sources)))
            )
            encoded = merged.encode()
            snapshot = hashlib.sha256(encoded).hexdigest()
            self.store.put(self._manifest_key(snapshot), encoded)
            try:
                self._move_latest(snapshot, etag)
            except Conflict:
                continue  # Another ingestion published first: add ours to what it made.
            return snapshot, True

    def load(self, snapshot: str, schema: Schema, days: float | None = None) -> "pd.DataFrame":
        """Read rows as a typed frame: the schema's columns and the target; arguments and errors as for ``rows``."""
        return self.rows(snapshot, schema, days)[[*(column.name for column in schema.columns), schema.target.name]]

    def rows(self, snapshot: str, schema: Schema, days: float | None = None) -> "pd.DataFrame":
        """Read rows as a typed frame, each row once (the last of equal keys), in the order of ``in_order``.

        Rows that production answered have their request's id and time, in ``_request_id`` and ``_time``.

        Args:
            snapshot: its id.
            schema: names the columns, the event time and the unique key.
            days: only rows of the latest so many days of event time; none: all.

        Raises:
            SnapshotError: it is absent, altered, holds no rows, or lacks a column of the schema.
        """
        import pandas as pd

        parts = [part for part in self.manifest(snapshot).parts if part.rows]
        if not parts:
            raise SnapshotError(f"snapshot {snapshot} of {self.model} holds no rows; ingest data first")
        oldest = None
        if days is not None and schema.time:
            oldest = max(pd.Timestamp(part.last) for part in parts if part.last) - pd.Timedelta(days=days)
            parts = [part for part in parts if part.last and pd.Timestamp(part.last) > oldest]
        frame = pd.concat([self._read(part) for part in parts], ignore_index=True)
        wanted = [
            *(column.name for column in schema.columns),
            schema.target.name,
            *([schema.time] if schema.time else []),
        ]
        if absent := sorted({*wanted, *schema.unique} - set(frame.columns)):
            raise SnapshotError(
                f"snapshot {snapshot} of {self.model} has no column {', '.join(absent)}: the spec had others when"
                " its rows were ingested. A model keeps its columns; give one with others a name of its own"
            )
        if oldest is not None:
            frame = frame[frame[schema.time] > oldest]
        return in_order(frame, schema)

    def files(self, snapshot: str) -> dict[str, bytes]:
        """All that a snapshot is, by store key: its manifest, and its parts in Parquet.

        Raises:
            SnapshotError: it is absent or altered.
        """
        parts = {self._part(part.digest): self._checked(part) for part in self.manifest(snapshot).parts}
        return {self._manifest_key(snapshot): self._manifest(snapshot), **parts}

    def _move_latest(self, snapshot: str, etag: str) -> None:
        pointer = msgspec.json.encode({"snapshot": snapshot})
        if etag:
            self.store.put_if_match(self._latest, pointer, etag)
        else:
            self.store.put_if_absent(self._latest, pointer)

    def _read(self, part: Part) -> "pd.DataFrame":
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self._checked(part)))

    def _checked(self, part: Part) -> bytes:
        data = self.store.get(self._part(part.digest))
        if hashlib.sha256(data).hexdigest() != part.digest:
            raise SnapshotError(f"{self._part(part.digest)}: altered since it was stored")
        return data

    def _manifest_key(self, snapshot: str) -> str:
        return f"{self.model}/snapshots/{snapshot}/manifest.json"

    def _part(self, digest: str) -> str:
        return f"{self.model}/snapshots/parts/{digest}.parquet"


def in_order(frame: "pd.DataFrame", schema: Schema) -> "pd.DataFrame":
    """Keep each row once, and order rows by event time; without one, those never asked of production come first."""
    if REQUEST_ID in frame:
        answered = frame[REQUEST_ID].notna()
        frame = frame[~(answered & frame.duplicated(REQUEST_ID, keep="last"))]
    if schema.unique:
        frame = frame.drop_duplicates(list(schema.unique), keep="last")
    if schema.time:
        frame = frame.sort_values(schema.time, kind="stable")
    elif REQUEST_TIME in frame:
        frame = frame.sort_values(REQUEST_TIME, kind="stable", na_position="first")
    return frame.reset_index(drop=True)
