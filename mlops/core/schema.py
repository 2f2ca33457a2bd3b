"""The shape of a model's data, declared once and shared by ingestion, training, drift and scoring."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

MAX_CATEGORY = 256
"""Longest category, in characters."""

ColumnType = Literal["number", "integer", "category", "time"]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One input column; ranges are inclusive, ``values`` closes a category's set."""

    name: str
    type: ColumnType
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] = ()
    nullable: bool = False
    feature: bool = True
    """Whether the model sees it; keys and times ride along for joins and windows."""
    unit: str = ""
    description: str = ""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The column to predict; ``classes`` are its values as text, in the model's order."""

    name: str
    classes: tuple[str, ...]
    description: str = ""


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Input columns, target and keys of one model."""

    columns: tuple[Column, ...]
    target: Target
    unique: tuple[str, ...] = ()
    """Columns that together name a row; later repeats are bad rows."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"columns declared twice: {', '.join(repeated)}")
        if self.target.name in names:
            raise ValueError(f"target {self.target.name!r} is declared as an input column too")
        if len(set(self.target.classes)) != len(self.target.classes) or len(self.target.classes) < 2:
            raise ValueError(f"target {self.target.name!r} needs two or more different classes")
        if unknown := sorted(set(self.unique) - set(names)):
            raise ValueError(f"unique names no declared column: {', '.join(unknown)}")
        if len(self.times) > 1:
            raise ValueError(f"more than one time column: {', '.join(c.name for c in self.times)}")

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the model sees, in order."""
        return tuple(c for c in self.columns if c.feature and c.type != "time")

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numeric features, in order."""
        return tuple(c.name for c in self.features if c.type != "category")

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categorical features, in order."""
        return tuple(c.name for c in self.features if c.type == "category")

    @property
    def times(self) -> tuple[Column, ...]:
        """The event-time column, if there is one."""
        return tuple(c for c in self.columns if c.type == "time")

    @property
    def time(self) -> str | None:
        """Name of the event-time column."""
        return self.times[0].name if self.times else None

    @property
    def output(self) -> str:
        """The key under which the scoring service answers."""
        return f"predicted_{self.target.name.lower()}"


def json_schema(schema: Schema) -> dict[str, Any]:
    """Describe one scoring record as a JSON Schema object (OpenAPI 3.1)."""
    return {
        "type": "object",
        "properties": {column.name: _property(column) for column in schema.columns},
        "required": [c.name for c in schema.columns if not c.nullable and (c.feature or c.type == "time")],
        "additionalProperties": False,
    }


def _property(column: Column) -> dict[str, Any]:
    kinds: Mapping[str, dict[str, Any]] = {
        "number": {"type": "number"},
        "integer": {"type": "integer"},
        "category": {"type": "string", "minLength": 1, "maxLength": MAX_CATEGORY},
        "time": {"type": "string", "format": "date-time"},
    }
    described = dict(kinds[column.type])
    if column.nullable:
        described["type"] = [described["type"], "null"]
    if column.min is not None:
        described["minimum"] = column.min
    if column.max is not None:
        described["maximum"] = column.max
    if column.values:
        described["enum"] = [*column.values, None] if column.nullable else list(column.values)
    text = " ".join(filter(None, [column.description, f"[{column.unit}]" if column.unit else ""]))
    return described | ({"description": text} if text else {})
