"""Arrow arrays made from their buffers: sooner than by pyarrow's own conversion, and without pandas.

Pyarrow's conversion imports pandas where it is installed, which would double the memory of a scoring service.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Numbered(Sequence[str]):
    """The request ids of a batch's records, ``<id>.0``, ``<id>.1``, ..., without a text for each."""

    def __init__(self, request_id: str, count: int) -> None:
        self.request_id = request_id
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._count))]
        if not -self._count <= place < self._count:
            raise IndexError(place)
        return f"{self.request_id}.{place % self._count}"


class Coded(Sequence[str]):
    """Texts of which there are few different ones, as their places among those."""

    def __init__(self, texts: Sequence[str], places: NDArray[np.integer[Any]]) -> None:
        self.texts = texts
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self.texts[i] for i in self.places[place].tolist()]
        return self.texts[int(self.places[place])]


class Constant(NamedTuple):
    """One value for all rows."""

    value: Any
    rows: int


def array(values: Any, kind: "pa.DataType") -> "pa.Array":
    """Build an array of numbers, texts, times or lists of numbers; none is a missing value.

    Args:
        values: a sequence of values, an array, a ``Constant``, a list of ``Numbered`` or of ``Coded``.
        kind: its type; times are UTC in microseconds, and may be given as such.
    """
    import pyarrow as pa

    if isinstance(values, Constant):
        return _constant(values.value, 1 << (values.rows - 1).bit_length(), kind).slice(0, values.rows)
    if pa.types.is_list(kind):
        return _lists(values, kind)
    if isinstance(values, np.ndarray):
        return _numbers(values, kind, None)
    if isinstance(values[0], Numbered):
        return _numbered(values)
    if isinstance(values[0], Coded):
        return pa.concat_arrays([_coded(list(run)) for _, run in groupby(values, lambda each: id(each.texts))])
    validity = None
    if None in values:
        present = [value is not None for value in values]
        validity = pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    if pa.types.is_string(kind):
        return _texts([value or "" for value in values] if validity else values, validity)
    if pa.types.is_timestamp(kind) and isinstance(values[0], datetime | None):
        values = [value and (value - _EPOCH) // _MICROSECOND for value in values]
    return _numbers([value or 0 for value in values] if validity else values, kind, validity)


def _lists(values: Any, kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    items: Any
    if isinstance(values, np.ndarray):
        offsets, items = np.arange(len(values) + 1) * values.shape[1], values.ravel()
    else:
        offsets = _ends(np.fromiter(map(len, values), np.int32, len(values)))
        items = list(chain.from_iterable(values))
    return pa.ListArray.from_arrays(_numbers(offsets, pa.int32(), None), array(items, kind.value_type))


def _texts(values: Sequence[str], validity: "pa.Buffer | None") -> "pa.Array":
    together = "".join(values)
    if together.isascii():  # Then a text has as many bytes as characters.
        return _strings(together.encode(), np.fromiter(map(len, values), np.int32, len(values)), validity)
    encoded = [value.encode() for value in values]
    return _strings(b"".join(encoded), np.fromiter(map(len, encoded), np.int32, len(values)), validity)


def _numbered(parts: Sequence[Numbered]) -> "pa.Array":
    data, lengths = [], []
    for part in parts:
        prefix, count = part.request_id.encode(), len(part)
        suffixes, their_lengths = _suffixes(1 << (count - 1).bit_length())
        data += [prefix, prefix.join(suffixes[:count])]
        lengths.append(their_lengths[:count] + np.int32(len(prefix)))
    return _strings(b"".join(data), np.concatenate(lengths), None)


@lru_cache(maxsize=16)
def _suffixes(count: int) -> tuple[list[bytes], NDArray[np.int32]]:
    """The first suffixes of numbered ids, and their lengths."""
    suffixes = [b".%d" % i for i in range(count)]
    return suffixes, np.fromiter(map(len, suffixes), np.int32, count)


def _coded(parts: Sequence[Coded]) -> "pa.Array":
    """Parts with the same texts."""
    import pyarrow as pa

    places = _numbers(np.concatenate([part.places for part in parts]), pa.int32(), None)
    return _texts(parts[0].texts, None).take(places)


def _strings(data: bytes, lengths: NDArray[np.int32], validity: "pa.Buffer | None") -> "pa.Array":
    import pyarrow as pa

    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(_ends(lengths)), pa.py_buffer(data), validity)


def _ends(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """Where the first item begins, and where each one ends."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    return ends


@lru_cache(maxsize=16)
def _constant(value: Any, rows: int, kind: "pa.DataType") -> "pa.Array":
    """Who answers, where and with what is the same for hours; arrays are never written to."""
    import pyarrow as pa

    if not pa.types.is_string(kind):
        return _numbers(np.full(rows, value), kind, None)
    text = value.encode()
    return _strings(text * rows, np.full(rows, len(text), dtype=np.int32), None)


def _numbers(values: Sequence[float] | NDArray[Any], kind: "pa.DataType", validity: "pa.Buffer | None") -> "pa.Array":
    import pyarrow as pa

    data = np.ascontiguousarray(values, dtype=f"{'f' if pa.types.is_floating(kind) else 'i'}{kind.bit_width // 8}")
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(data)])
