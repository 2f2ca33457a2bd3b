"""Reads the records of a scoring request: decoded and checked in one pass where nothing is wrong with them."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from mlops.core.schema import MAX_CATEGORY, Column, Schema
from mlops.scoring.validation import MAX_NUMBER, Checker, Row, check_batch, decode, may_be_absent

Rows = Sequence[Row] | npt.NDArray[np.float64]
"""Records in schema order: rows, or a matrix [records, columns] where all columns are numbers that are there."""
MAX_INTEGER = 2**53
"""Beyond this a double, which the prediction log keeps, is no longer exact."""


class Read(NamedTuple):
    """The records of one request, and whether they came as a list."""

    rows: Rows
    batch: bool


class Reader:
    """Reads request bodies by one schema.

    A record type made from the schema lets msgspec decode and check a body at once. It accepts nothing that
    ``Checker`` would not; what it does not accept ``Checker`` looks at again, to accept it after all (an empty
    text for a missing category, say) or to name each wrong field.
    """

    def __init__(self, schema: Schema) -> None:
        self._checker = Checker(schema)
        record: Any = _record_type(schema)
        self._one = msgspec.json.Decoder(record).decode
        self._many = msgspec.json.Decoder(list[record]).decode
        self._times = [i for i, column in enumerate(schema.columns) if column.type == "time"]
        self._width = len(schema.columns)
        plain = ("number", "integer")
        self._matrix = all(column.type in plain and not may_be_absent(column) for column in schema.columns)

    def read(self, body: bytes, limit: int) -> Read:
        """Decode and check a body of at most ``limit`` records.

        Raises:
            Refused: 400, it is not JSON; 422 naming each wrong field, or for no records or too many.
        """
        try:
            if body.startswith(b"{"):
                return Read((self._row(self._one(body)),), batch=False)
            if body.startswith(b"["):
                records = self._many(body)
                check_batch(records, limit)
                return Read(self._rows(records), batch=True)
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            pass  # The checker says what is wrong.
        return self.check(decode(body), limit)

    def read_one(self, body: bytes) -> Row:
        """Decode and check a body with a single record. Raises ``Refused`` as ``read`` does."""
        try:
            return self._row(self._one(body))
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            return self.check(decode(body), 1).rows[0]

    def check(self, payload: object, limit: int) -> Read:
        """Check what was decoded, naming each wrong field. Raises ``Refused`` as ``read`` does."""
        if isinstance(payload, list):
            check_batch(payload, limit)
            return Read(self._checker.rows(payload), batch=True)
        return Read(self._checker.rows(payload), batch=False)

    def _row(self, record: Any) -> Row:
        if not self._times:
            return astuple(record)
        row = list(astuple(record))
        for place in self._times:
            if isinstance(time := row[place], datetime):
                row[place] = time.astimezone(UTC)
        return row

    def _rows(self, records: list[Any]) -> Rows:
        if not self._matrix:
            return [self._row(record) for record in records]
        values = chain.from_iterable(map(astuple, records))
        return np.fromiter(values, np.float64, len(records) * self._width).reshape(-1, self._width)


def _record_type(schema: Schema) -> Any:
    """A type whose fields are the columns, in order; one that accepts nothing when a column cannot be a field."""
    names = {f"c{i}": column.name for i, column in enumerate(schema.columns)}
    fields = [_field(name, column) for name, column in zip(names, schema.columns, strict=True)]
    try:
        # By keyword, since a field with a default may stand before one without.
        return msgspec.defstruct("Record", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False)
    except ValueError:  # A name with a quote or a backslash.
        return Literal["no record"]


def _field(name: str, column: Column) -> tuple[str, Any] | tuple[str, Any, None]:
    kind = _type(column)
    return (name, kind | None, None) if may_be_absent(column) else (name, kind)


def _type(column: Column) -> Any:
    if column.type == "time":
        return Annotated[datetime, msgspec.Meta(tz=True)]
    if column.type == "category":
        closed = [value for value in column.values if value]
        return Literal[tuple(closed)] if closed else Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CATEGORY)]
    if column.type == "integer":
        least = -MAX_INTEGER if column.min is None else max(-MAX_INTEGER, math.ceil(column.min))
        most = MAX_INTEGER if column.max is None else min(MAX_INTEGER, math.floor(column.max))
        return Annotated[int, msgspec.Meta(ge=least, le=most)]
    low = -MAX_NUMBER if column.min is None else column.min
    high = MAX_NUMBER if column.max is None else column.max
    return Annotated[float, msgspec.Meta(ge=low, le=high)]
