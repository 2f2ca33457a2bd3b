"""Rows of single requests, kept as they will be written: in columns, as little work and memory for each as possible."""

import math
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import cast

import numpy as np

from mlops.adapters.prediction_tables import DAY, Predictions
from mlops.core.schema import Schema

BLOCK_ROWS = 2_500
"""After so many another block begins, so that no step of writing one takes long."""


class Block:
    """Answers of one day to records of numbers; not safe among threads."""

    __slots__ = ("counts", "day", "origins", "predicted", "probabilities", "request_ids", "schema", "times", "values")

    def __init__(self, schema: Schema, day: int) -> None:
        self.schema = schema
        self.day = day
        """Counted from 1970 on (UTC)."""
        self.request_ids: list[str] = []
        self.predicted: list[str] = []
        self.probabilities = array("d")
        """[records, classes], row by row."""
        self.values = array("d")
        """[records, columns], row by row; NaN where a number is missing, since none that was sent is."""
        self.times: list[int] = []
        """Of each request; microseconds since 1970 (UTC)."""
        self.origins: list[tuple[int, str, str, str]] = []
        """Who answered each request: generation, version, digest and role."""
        self.counts: list[int] = []
        """Records of each request."""

    def __len__(self) -> int:
        return len(self.request_ids)

    def take(self, rows: Predictions) -> bool:
        """Add rows, unless they belong elsewhere or the block is full.

        Raises:
            TypeError: a value is no number; the block is as before.
            ValueError: a row has too many values or too few; likewise.
        """
        if rows.schema is not self.schema or rows.time // DAY != self.day or len(self.request_ids) >= BLOCK_ROWS:
            return False
        values = _flat(cast("Sequence[Sequence[float | None]]", rows.rows))
        probabilities = array("d", chain.from_iterable(rows.probabilities))
        count = len(rows.request_ids)
        if (len(values), len(probabilities)) != (
            count * len(self.schema.columns),
            count * len(self.schema.target.classes),
        ):
            raise ValueError(f"{len(values)} values and {len(probabilities)} probabilities for {count} records")
        self.values.extend(values)
        self.probabilities.extend(probabilities)
        self.request_ids.extend(rows.request_ids)
        self.predicted.extend(rows.predicted)
        self.times.append(rows.time)
        self.origins.append((rows.generation, rows.version, rows.digest, rows.role))
        self.counts.append(count)
        return True


def _flat(records: "Sequence[Sequence[float | None]]") -> "array[float]":
    """The values of records, row by row; NaN where one is missing."""
    try:
        return array("d", cast("Iterable[float]", chain.from_iterable(records)))
    except TypeError:
        return array("d", (math.nan if each is None else each for each in chain.from_iterable(records)))


class Compactor:
    """Puts rows into the blocks of one queue where they have that form; not safe among threads."""

    def __init__(self) -> None:
        self._open: dict[int, Block] = {}
        """By identity of the schema: each bundle has its own."""
        self._other: Schema | None = None
        """The last schema that was seen with columns that are no numbers."""

    def place(self, rows: Predictions) -> Predictions | Block | None:
        """What to queue for the rows: themselves, a new block that has them, or nothing when a queued one took them.

        Raises:
            TypeError: a value of a column of numbers is none.
            ValueError: a row has too many values or too few.
        """
        schema = rows.schema
        if schema is self._other:
            return rows
        if isinstance(rows.rows, np.ndarray):
            self._open.pop(id(schema), None)  # What comes after them must not be written before.
            return rows
        block = self._open.get(id(schema))
        if block is not None and block.take(rows):
            return None
        if any(column.type not in ("number", "integer") for column in schema.columns):
            self._other = schema
            return rows
        block = Block(schema, rows.time // DAY)
        block.take(rows)
        self._open[id(schema)] = block
        return block

    def close(self) -> None:
        """Let no queued block take more."""
        self._open.clear()
