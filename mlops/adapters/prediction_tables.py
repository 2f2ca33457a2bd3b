"""The rows of the prediction log and their Arrow form."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops.adapters.arrow_arrays import array
from mlops.core.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

Value = float | str | datetime | None
DAY = 86_400_000_000
"""Microseconds."""
_FIRST_DAY = date(1970, 1, 1).toordinal()


class Predictions(msgspec.Struct, frozen=True, gc=False):
    """The answers to one request by one model; sequences have one item a record.

    It refers to nothing that refers back, so the garbage collector need not look at it.
    """

    schema: Schema
    request_ids: Sequence[str]
    time: int
    """Microseconds since 1970 (UTC)."""
    generation: int
    version: str
    digest: str
    role: str
    """``champion``, ``canary`` or ``shadow`` (which nobody was answered with)."""
    predicted: Sequence[str]
    probabilities: Sequence[Sequence[float]] | NDArray[np.floating[Any]]
    """[records, classes]."""
    rows: Sequence[Sequence[Value]] | NDArray[np.float64]
    """Values in the order of the schema's columns, [records, columns]."""

    def __len__(self) -> int:
        return len(self.request_ids)

    @property
    def weight(self) -> int:
        """The memory that it takes, in rows of single requests; in arrays, eight rows take as much as one."""
        count = len(self.request_ids)
        return 1 + count // 8 if isinstance(self.rows, np.ndarray) else count


class Labels(msgspec.Struct, frozen=True):
    """The labels of one feedback request; lists have one item a label."""

    request_ids: Sequence[str]
    time: int
    """Microseconds since 1970 (UTC)."""
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.request_ids)

    @property
    def weight(self) -> int:
        """The memory that it takes, likewise."""
        return len(self.request_ids)


def date_of(day: int) -> date:
    """The date of a day counted from 1970 on."""
    return date.fromordinal(_FIRST_DAY + day)


def prediction_fields(schema: Schema | None = None) -> "pa.Schema":
    """The Arrow schema of predictions, with the model's columns when they are given."""
    import pyarrow as pa

    time_type = pa.timestamp("us", tz="UTC")
    types = {"number": pa.float64(), "integer": pa.float64(), "category": pa.string(), "time": time_type}
    own = {
        "_request_id": pa.string(),
        "_time": time_type,
        "_environment": pa.string(),
        "_generation": pa.int64(),
        "_version": pa.string(),
        "_digest": pa.string(),
        "_role": pa.string(),
        "_predicted": pa.string(),
        "_probabilities": pa.list_(pa.float64()),
    }
    return pa.schema([*own.items(), *((c.name, types[c.type]) for c in (schema.columns if schema else ()))])


def label_fields() -> "pa.Schema":
    """The Arrow schema of labels."""
    import pyarrow as pa

    return pa.schema({"_request_id": pa.string(), "_time": pa.timestamp("us", tz="UTC"), "_label": pa.string()})


def label_table(parts: Sequence[Labels]) -> "pa.Table":
    """The rows of labels."""
    import pyarrow as pa

    fields = label_fields()
    columns = (
        list(chain.from_iterable(part.request_ids for part in parts)),
        np.repeat([part.time for part in parts], list(map(len, parts))),
        list(chain.from_iterable(part.labels for part in parts)),
    )
    arrays = [array(values, field.type) for values, field in zip(columns, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=fields)


def parquet(fields: "pa.Schema", tables: Iterable["pa.Table"]) -> bytes:
    """Encode tables as one Parquet file, each as a group of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A dictionary of numbers, or of ids, takes four times as long as all else and is given up when it is full.
    repeated = [field.name for field in fields if pa.types.is_string(field.type) and field.name != "_request_id"]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, fields, use_dictionary=repeated) as writer:
        for table in tables:
            writer.write_table(table)
    return bytes(sink.getvalue())
