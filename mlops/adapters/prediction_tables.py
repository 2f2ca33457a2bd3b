"""The rows of the prediction log and their Arrow form."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlops.core.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Predictions(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to one request by one model; lists have one item a record."""

    schema: Schema
    request_ids: Sequence[str]
    time: datetime
    generation: int
    version: str
    digest: str
    role: str
    """``champion``, ``canary`` or ``shadow`` (which nobody was answered with)."""
    predicted: Sequence[str]
    probabilities: Sequence[Sequence[float]]
    rows: Sequence[Sequence[object]]
    """Values in the order of the schema's columns."""

    def __len__(self) -> int:
        return len(self.request_ids)


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of one feedback request; lists have one item a label."""

    request_ids: Sequence[str]
    time: datetime
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.request_ids)


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


def prediction_table(parts: Sequence[Predictions], environment: str) -> "pa.Table":
    """The rows of predictions that share a schema."""
    schema = parts[0].schema
    columns: dict[str, list[Any]] = {
        "_request_id": [each for part in parts for each in part.request_ids],
        "_time": [part.time for part in parts for _ in part.request_ids],
        "_environment": [environment for part in parts for _ in part.request_ids],
        "_generation": [part.generation for part in parts for _ in part.request_ids],
        "_version": [part.version for part in parts for _ in part.request_ids],
        "_digest": [part.digest for part in parts for _ in part.request_ids],
        "_role": [part.role for part in parts for _ in part.request_ids],
        "_predicted": [each for part in parts for each in part.predicted],
        "_probabilities": [each for part in parts for each in part.probabilities],
    }
    rows = [row for part in parts for row in part.rows]
    columns |= {column.name: [row[i] for row in rows] for i, column in enumerate(schema.columns)}
    return _table(columns, prediction_fields(schema))


def label_table(parts: Sequence[Labels]) -> "pa.Table":
    """The rows of labels."""
    columns: dict[str, list[Any]] = {
        "_request_id": [each for part in parts for each in part.request_ids],
        "_time": [part.time for part in parts for _ in part.request_ids],
        "_label": [each for part in parts for each in part.labels],
    }
    return _table(columns, label_fields())


def _table(columns: dict[str, list[Any]], fields: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_arrays([_array(columns[field.name], field.type) for field in fields], schema=fields)


def _array(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array":
    """Build an Arrow array from its buffers; none is null.

    Pyarrow's own conversion imports pandas where it is installed, which would double the memory of
    a scoring service.
    """
    import pyarrow as pa

    if pa.types.is_list(kind):
        offsets = _numbers([0, *accumulate(map(len, values))], pa.int32(), None)
        return pa.ListArray.from_arrays(offsets, _array([item for value in values for item in value], kind.value_type))
    present = [value is not None for value in values]
    validity = None if all(present) else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    if pa.types.is_string(kind):
        texts = [(value or "").encode() for value in values]
        ends = np.array([0, *accumulate(map(len, texts))], dtype=np.int32)
        return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(texts)), validity)
    if pa.types.is_timestamp(kind):
        values = [value and (value - _EPOCH) // _MICROSECOND for value in values]
    return _numbers([0 if value is None else value for value in values], kind, validity)


def _numbers(values: Sequence[float], kind: "pa.DataType", validity: "pa.Buffer | None") -> "pa.Array":
    import pyarrow as pa

    data = np.array(values, dtype=f"{'f' if pa.types.is_floating(kind) else 'i'}{kind.bit_width // 8}")
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])


def parquet(table: "pa.Table") -> bytes:
    """Encode a table as one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())
