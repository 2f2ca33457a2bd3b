"""The rows of the prediction log and their Arrow form."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, chain, repeat
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
    columns: dict[str, Sequence[Any]] = {
        "_request_id": _chain(part.request_ids for part in parts),
        "_time": _repeated(parts, [part.time for part in parts]),
        "_environment": [environment] * sum(map(len, parts)),
        "_generation": _repeated(parts, [part.generation for part in parts]),
        "_version": _repeated(parts, [part.version for part in parts]),
        "_digest": _repeated(parts, [part.digest for part in parts]),
        "_role": _repeated(parts, [part.role for part in parts]),
        "_predicted": _chain(part.predicted for part in parts),
        "_probabilities": _chain(part.probabilities for part in parts),
    }
    values = zip(*_chain(part.rows for part in parts), strict=True)
    columns |= dict(zip((column.name for column in schema.columns), values, strict=True))
    return _table(columns, prediction_fields(schema))


def label_table(parts: Sequence[Labels]) -> "pa.Table":
    """The rows of labels."""
    columns: dict[str, Sequence[Any]] = {
        "_request_id": _chain(part.request_ids for part in parts),
        "_time": _repeated(parts, [part.time for part in parts]),
        "_label": _chain(part.labels for part in parts),
    }
    return _table(columns, label_fields())


def _chain(parts: Iterable[Iterable[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def _repeated(parts: Sequence[Predictions | Labels], values: Sequence[Any]) -> list[Any]:
    """A value of each part, once for each of its rows."""
    return _chain(map(repeat, values, map(len, parts)))


def _table(columns: dict[str, Sequence[Any]], fields: "pa.Schema") -> "pa.Table":
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
        return pa.ListArray.from_arrays(offsets, _array(_chain(values), kind.value_type))
    validity = None
    if None in values:
        present = [value is not None for value in values]
        validity = pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    if pa.types.is_string(kind):
        if len(set(values)) == 1 and values[0] is not None:  # Most of the log's own columns, most of the time.
            return _constant(values[0].encode(), len(values))
        texts = [(value or "").encode() for value in values]
        ends = np.array([0, *accumulate(map(len, texts))], dtype=np.int32)
        return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(b"".join(texts)), validity)
    if pa.types.is_timestamp(kind):
        values = [value and (value - _EPOCH) // _MICROSECOND for value in values]
    return _numbers([value or 0 for value in values] if validity else values, kind, validity)


def _constant(text: bytes, rows: int) -> "pa.Array":
    import pyarrow as pa

    ends = np.arange(rows + 1, dtype=np.int32) * np.int32(len(text))
    return pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(text * rows))


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
