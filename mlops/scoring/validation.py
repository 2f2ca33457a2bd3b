"""Checks of scoring requests against the model's schema, each failure naming its field."""

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from mlops.adapters.prediction_tables import Value
from mlops.core.schema import MAX_CATEGORY, Column, Schema
from mlops.scoring.errors import FieldError, Refused, unusable

MAX_NUMBER = 3.4028234e38
"""The models compute in single precision; a larger number would become infinite."""

_KINDS = {bool: "a boolean", str: "text", list: "a list", dict: "an object", int: "a number", float: "a number"}
Row = Sequence[Value]
"""One record's values in schema order; missing ones are none."""
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


def decode(body: bytes) -> object:
    """Decode JSON, letting through numbers that JSON lacks so that they can be refused by name.

    Raises:
        Refused: 400, the body is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        problem = error
    try:  # Many clients write NaN and Infinity; the field that has one is named later.
        value = json.loads(body.decode("utf-8"))
        if _outside_json(value):
            return value
    except (ValueError, RecursionError):
        pass
    reason = "nested too deeply" if isinstance(problem, RecursionError) else str(problem)
    raise Refused(400, f"the body is not JSON: {reason}")


def _outside_json(value: object) -> bool:
    if isinstance(value, dict):
        return any(_outside_json(item) for item in value.values())
    if isinstance(value, list):
        return any(_outside_json(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)


class Checker:
    """The checks of one schema, prepared once."""

    def __init__(self, schema: Schema) -> None:
        self._columns = [
            (c.name, _check(c), may_be_absent(c), "" if c.type == "category" else None) for c in schema.columns
        ]
        self._names = {column.name for column in schema.columns}

    def rows(self, payload: object) -> list[Row]:
        """Check one record or a list of records; return their rows.

        Raises:
            Refused: 422 naming each wrong field.
        """
        if not isinstance(payload, list):
            row, wrong = self._row(payload, None)
            if wrong:
                raise unusable(wrong)
            return [row]
        rows, wrong = [], []
        for index, record in enumerate(payload):
            row, problems = self._row(record, index)
            rows.append(row)
            wrong += problems
        if wrong:
            raise unusable(wrong)
        return rows

    def _row(self, record: object, index: int | None) -> tuple[Row, list[FieldError]]:
        if not isinstance(record, dict):
            return [], [FieldError("", f"a record must be an object, not {describe(record)}", index)]
        row: list[Value] = []
        wrong = []
        for name, check, optional, empty in self._columns:
            value = record.get(name)
            if value is None or value == empty:
                if not optional:
                    wrong.append(FieldError(name, _absence(record, name), index))
                row.append(None)
                continue
            try:
                row.append(check(value))
            except ValueError as error:
                wrong.append(FieldError(name, str(error), index))
        if len(record) > len(self._columns) or not record.keys() <= self._names:
            wrong += [FieldError(clean(name), "is not a field of this model", index) for name in self._unknown(record)]
        return row, wrong

    def _unknown(self, record: dict[str, object]) -> list[str]:
        return [name for name in record if name not in self._names]


def _absence(record: dict[str, object], name: str) -> str:
    if name not in record:
        return "is missing"
    return "is null" if record[name] is None else "is empty"


def check_batch(items: Sequence[object], limit: int) -> None:
    """Refuse an empty list and one of more than ``limit`` items: 422."""
    if not items:
        raise Refused(422, "the list is empty; send at least one record")
    if len(items) > limit:
        raise Refused(422, f"{len(items)} records; send at most {limit} at once")


def describe(value: object) -> str:
    """Say what kind of JSON value this is."""
    return "null" if value is None else _KINDS[type(value)]


def clean(text: str) -> str:
    """Make a client's text fit for an answer: short, and valid Unicode."""
    return text[:80].encode("utf-8", "replace").decode()


def may_be_absent(column: Column) -> bool:
    """Whether a record may lack this column, or have it null."""
    return column.nullable or not (column.feature or column.type == "time")


def _check(column: Column) -> Callable[[object], Value]:
    if column.type == "time":
        return _time
    return _category(column) if column.type == "category" else _number(column)


def _number(column: Column) -> Callable[[object], float]:
    low = -MAX_NUMBER if column.min is None else column.min
    high = MAX_NUMBER if column.max is None else column.max
    kind = "an integer" if column.type == "integer" else "a number"
    integral = column.type == "integer"

    def check(value: object) -> float:
        if type(value) is not float and type(value) is not int:
            raise ValueError(f"must be {kind}, not {describe(value)}")
        if not low <= value <= high:  # Comparison with NaN is false, so this finds it too.
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError("must be finite")
            raise ValueError(_outside(column))
        if integral and value != int(value):
            raise ValueError("must be an integer")
        return float(value)

    return check


def _outside(column: Column) -> str:
    bounds = [f"at least {column.min:g}" if column.min is not None else ""]
    bounds += [f"at most {column.max:g}" if column.max is not None else ""]
    text = " and ".join(filter(None, bounds)) or f"between {-MAX_NUMBER:g} and {MAX_NUMBER:g}"
    return f"is out of range: must be {text}{f' {column.unit}' if column.unit else ''}"


def _category(column: Column) -> Callable[[object], str]:
    closed = frozenset(column.values)

    def check(value: object) -> str:
        if type(value) is not str:
            raise ValueError(f"must be text, not {describe(value)}")
        if closed and value not in closed:
            raise ValueError(f"must be one of {', '.join(column.values)}")
        if len(value) > MAX_CATEGORY:
            raise ValueError(f"must have at most {MAX_CATEGORY} characters")
        return value

    return check


def _time(value: object) -> datetime:
    try:
        return msgspec.convert(value, _Time).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise ValueError("must be a time with its offset, such as 2013-02-20T12:00:00Z") from None


class Label(msgspec.Struct, frozen=True):
    """The true label of an answered record."""

    request_id: str
    label: str


REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")
_RECORD_ID = re.compile(r"[A-Za-z0-9._-]{1,90}")


def labels(payload: object, classes: Sequence[str], limit: int) -> list[Label]:
    """Check one label or a list of labels.

    Raises:
        Refused: 422 naming each wrong field, or for more than ``limit`` labels.
    """
    items: list[object] = payload if isinstance(payload, list) else [payload]
    check_batch(items, limit)
    wrong = []
    for index, item in enumerate(items):
        wrong += _label_errors(item, classes, index if items is payload else None)
    if wrong:
        raise unusable(wrong)
    return msgspec.convert(items, list[Label])


def _label_errors(item: object, classes: Sequence[str], index: int | None) -> list[FieldError]:
    if not isinstance(item, dict):
        return [FieldError("", f"must be an object with request_id and label, not {describe(item)}", index)]
    wrong = []
    if "request_id" not in item:
        wrong.append(FieldError("request_id", "is missing", index))
    elif not isinstance(item["request_id"], str) or not _RECORD_ID.fullmatch(item["request_id"]):
        wrong.append(FieldError("request_id", "must be 1 to 90 letters, digits, dots, dashes or underscores", index))
    if "label" not in item:
        wrong.append(FieldError("label", "is missing", index))
    elif item["label"] not in classes:
        wrong.append(FieldError("label", f"must be one of the texts {', '.join(classes)}", index))
    unknown = [name for name in item if name not in ("request_id", "label")]
    return wrong + [FieldError(clean(name), "is not a field of feedback", index) for name in unknown]
