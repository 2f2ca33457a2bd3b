"""Predictions as Arrow columns, made in short steps.

A step keeps the interpreter, and with it the answers, for some tenths of a millisecond; then there is a pause, in
which the threads that answer take their turn. Steps of fewer rows would be shorter, and more of them.
"""

import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, groupby, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.adapters.arrow_arrays import Coded, Constant, Numbered, array
from mlops.adapters.prediction_blocks import Block
from mlops.adapters.prediction_tables import Predictions, prediction_fields

if TYPE_CHECKING:
    import pyarrow as pa

LIST_ROWS = 2_500
"""Rows converted at once, where they are lists."""
ARRAY_ROWS = 50_000
"""The same, where they are arrays."""
PAUSE_ROWS = 1_000
"""After steps of so many rows there is a pause."""
ARRAY_PAUSE_ROWS = 100_000
"""The same, where rows are arrays: more pauses would let the log fall behind the batches that it is for."""
PAUSE_SECONDS = 0.001


def prediction_tables(parts: Sequence[Predictions | Block], environment: str) -> Iterator["pa.Table"]:
    """The rows of predictions that share a schema, in the order of ``prediction_fields``; some at a time."""
    import pyarrow as pa

    fields, since = prediction_fields(parts[0].schema), 0
    for columns, most in _tables(parts, environment):
        arrays = []
        for field, values in zip(fields, columns, strict=True):
            arrays.append(array(values, field.type))
            since += len(arrays[-1])
            if since >= most:
                time.sleep(PAUSE_SECONDS)
                since = 0
        yield pa.Table.from_arrays(arrays, schema=fields)
        time.sleep(PAUSE_SECONDS)  # To encode them was a step, too.


def _tables(parts: Sequence[Predictions | Block], environment: str) -> Iterator[tuple[Iterator[Any], int]]:
    """The columns of blocks, and those of neighbours that are no blocks and alike, with the rows between pauses."""
    for kind, run in groupby(parts, _kind):
        if kind is Block:
            yield from ((_block_columns(part, environment), PAUSE_ROWS) for part in run if isinstance(part, Block))
            continue
        alike = [part for part in run if isinstance(part, Predictions)]
        most, pause = (ARRAY_ROWS, ARRAY_PAUSE_ROWS) if kind is np.ndarray else (LIST_ROWS, PAUSE_ROWS)
        yield from ((_columns(some, environment), pause) for some in _portions(alike, most))


def _kind(part: Predictions | Block) -> type:
    return Block if isinstance(part, Block) else type(part.rows)


def _portions(parts: Sequence[Predictions], most: int) -> Iterator[Sequence[Predictions]]:
    """Parts of so many rows at most, unless one alone has more."""
    ends = [0, *accumulate(len(part.request_ids) for part in parts)]
    begin = 0
    while begin < len(parts):
        end = max(bisect_right(ends, ends[begin] + most) - 1, begin + 1)
        yield parts[begin:end]
        begin = end


def _block_columns(block: Block, environment: str) -> Iterator[Any]:
    """The columns, each when it is asked for."""
    rows = len(block)
    yield block.request_ids
    yield np.repeat(block.times, block.counts)
    yield Constant(environment, rows)
    for own in zip(*block.origins, strict=True):
        yield _repeated(own, block.counts)
    yield block.predicted
    yield np.frombuffer(block.probabilities).reshape(rows, -1)
    for values in np.frombuffer(block.values).reshape(rows, -1).T:
        yield [None if value != value else value for value in values.tolist()] if np.isnan(values).any() else values


def _columns(parts: Sequence[Predictions], environment: str) -> Iterator[Any]:
    """Likewise, of requests whose rows are lists, or arrays."""
    counts = [len(part.request_ids) for part in parts]
    yield _in_line([part.request_ids for part in parts], Numbered)
    yield np.repeat([part.time for part in parts], counts)
    yield Constant(environment, sum(counts))
    for own in ("generation", "version", "digest", "role"):
        yield _repeated([getattr(part, own) for part in parts], counts)
    yield _in_line([part.predicted for part in parts], Coded)
    yield _stacked([part.probabilities for part in parts])
    rows = _stacked([part.rows for part in parts])
    yield from rows.T if isinstance(rows, np.ndarray) else zip(*rows, strict=True)


def _stacked(parts: Sequence[Any]) -> Any:
    """Rows of several parts as one list or array."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return list(chain.from_iterable(parts))


def _in_line(parts: Sequence[Any], compact: type) -> Sequence[Any]:
    """Texts of several parts, left in their compact form where each has it."""
    return parts if all(isinstance(part, compact) for part in parts) else list(chain.from_iterable(parts))


def _repeated(values: Sequence[Any], counts: Sequence[int]) -> Sequence[Any]:
    """A value of each part, once for each of its rows; most of the time it is the same for all."""
    if values.count(values[0]) == len(values):
        return Constant(values[0], sum(counts))
    return list(chain.from_iterable(map(repeat, values, counts)))
