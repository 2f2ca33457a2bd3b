"""A user's own past, from a text frame to a stream that can be replayed, with the spec of its model."""

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from mlops.core.inference import blank_missing, infer, is_number, refuse_disorder, refuse_mixed_zones, require
from mlops.core.quality import REASON, ROW, FileError, check
from mlops.core.schema import Column, Schema
from mlops.core.stream import Length, Stream, cut, default_rows
from mlops.core.windows import EPOCH
from mlops.spec import Candidate, ModelSpec, Split, Training

ORDER = "_order"
"""Event time of data whose windows are of rows: one day a row, so that ``training.window_days`` counts rows."""


class Past(NamedTuple):
    """What is replayed, the model's spec, and in a sentence each what was inferred or left out."""

    stream: Stream
    spec: ModelSpec
    notes: tuple[str, ...]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How to read and cut a past; what is none is the spec's, or inferred."""

    target: str | None = None
    time: str | None = None
    window: Length | None = None
    train: Length | None = None
    sort: bool = False


def prepare(raw: DataFrame, name: str, asked: Asked, spec: ModelSpec | None = None) -> Past:
    """Type, order and cut a table.

    Args:
        raw: text, as ``tables.read_table`` returns it.
        name: the file, for messages.
        asked: columns and lengths.
        spec: of the model; none: types are inferred and histogram gradient boosting is the classifier.

    Raises:
        FileError: the table cannot be used; the message names the row, the column and what to do.
        StreamError: it cannot be cut as asked.
    """
    if spec is None:
        return _without_spec(raw, name, asked)
    if asked.target not in (None, spec.data.target.name):
        raise FileError(name, f"--target is {asked.target!r}, the spec's is {spec.data.target.name!r}; leave it away")
    if asked.time not in (None, spec.data.time):
        raise FileError(name, f"--time is {asked.time!r}, the spec's time is {spec.data.time!r}; leave it away")
    if asked.sort and not spec.data.time:
        raise FileError(name, "--sort needs times, and the spec names no column of them")
    frame, notes = _typed(raw, spec.data, name)
    return prepare_rows(frame, name, asked, spec, tuple(notes))


def prepare_rows(frame: DataFrame, name: str, asked: Asked, spec: ModelSpec, notes: tuple[str, ...] = ()) -> Past:
    """Order and cut typed, labelled rows, as a snapshot has them; arguments and errors as for ``prepare``."""
    time = spec.data.time
    frame = _ordered(frame, frame[time], name, time, asked.sort) if time else frame.reset_index(drop=True)
    length = asked.window or (timedelta(days=spec.drift.window_days) if time else default_rows(len(frame)))
    learnt = asked.train
    if learnt is None and spec.training.window_days is not None:
        learnt = timedelta(days=spec.training.window_days)
    times = frame[time] if time else None
    return Past(cut(frame, times, length, learnt, spec.drift.start or EPOCH), spec, notes)


def _without_spec(raw: DataFrame, name: str, asked: Asked) -> Past:
    if asked.target is None:
        raise FileError(name, "which column is to be predicted? Name it with --target, or give a --spec")
    if asked.sort and not asked.time:
        raise FileError(name, "--sort needs the column to sort by: name it with --time")
    if asked.time == asked.target:
        raise FileError(name, f"{asked.target!r} is named as --target and as --time; they are two columns")
    if ORDER in raw:
        raise FileError(name, f"column {ORDER!r} has a reserved name; rename it")
    if asked.time:
        require(raw, name, asked.time)
    numbered = bool(asked.time) and bool(is_number(raw[asked.time].str.strip()).all())
    inferred = infer(raw, name, asked.target, None if numbered else asked.time)
    schema = _without_feature(inferred.schema, asked.time) if numbered else inferred.schema
    frame, notes = _typed(blank_missing(raw, schema), schema, name)
    by = asked.time
    frame = _ordered(frame, frame[by], name, by, asked.sort) if by else frame.reset_index(drop=True)
    length = asked.window or default_rows(len(frame))
    if isinstance(length, int):
        schema = _by_order(schema)
        frame = frame.assign(**{ORDER: _order(len(frame))})
    times = frame[schema.time] if schema.time and schema.time != ORDER else None
    start = datetime.combine(times.iloc[0].date(), datetime.min.time(), EPOCH.tzinfo) if times is not None else EPOCH
    stream = cut(frame, times, length, asked.train, start)
    return Past(stream, _spec(schema, _days(stream, times)), (*inferred.notes, *notes))


def _typed(raw: DataFrame, schema: Schema, name: str) -> tuple[DataFrame, list[str]]:
    """Type rows, those without a label left out; any other wrong field refuses the file."""
    require(raw, name, schema.target.name)
    for column in schema.times:
        require(raw, name, column.name)
    labelled = raw[schema.target.name].str.strip() != ""
    for column in schema.times:
        refuse_mixed_zones(raw[column.name], name, column.name)
    checked = check(raw, schema, name)
    bad = checked.bad[checked.bad[ROW].isin(np.flatnonzero(labelled.to_numpy()) + 1)]
    if len(bad):
        first = bad.iloc[0]
        raise FileError(name, f"row {first[ROW]}: {first[REASON]} ({len(bad)} such rows); correct or remove them")
    unlabelled = int((~labelled).sum())
    if checked.good.empty:
        raise FileError(name, f"no row has a label: column {schema.target.name!r} is empty")
    # What is left keeps its place in the file, for messages.
    good = checked.good.set_index(np.flatnonzero(labelled.to_numpy()))
    return good, [f"{unlabelled} rows without a label are left out."] if unlabelled else []


def _ordered(frame: DataFrame, values: Series, name: str, column: str, sort: bool) -> DataFrame:
    if values.isna().any():
        row = int(str(values[values.isna()].index[0])) + 1
        raise FileError(name, f"row {row}, column {column!r}: no value, so the row has no place in the order")
    if sort:
        return frame.iloc[np.argsort(values.to_numpy(), kind="stable")].reset_index(drop=True)
    refuse_disorder(values, name, column)
    return frame.reset_index(drop=True)


def _without_feature(schema: Schema, column: str | None) -> Schema:
    columns = (msgspec.structs.replace(each, feature=False) if each.name == column else each for each in schema.columns)
    return msgspec.structs.replace(schema, columns=tuple(columns))


def _by_order(schema: Schema) -> Schema:
    columns = [column for column in schema.columns if column.type != "time"]
    return msgspec.structs.replace(schema, columns=(*columns, Column(ORDER, "time")))


def _order(rows: int) -> Series:
    days = pd.to_timedelta(np.arange(rows), unit="D").as_unit("us")
    return Series(pd.Timestamp(0, tz="UTC").as_unit("us") + days)


def _days(stream: Stream, times: Series | None) -> int:
    """How much the sliding window of an inferred spec holds: as much as the first model learns from."""
    end = stream.judged[0].start
    if times is None:
        return end
    return max(1, round(float((times.iloc[end] - times.iloc[0]).total_seconds()) / 86_400))


def _spec(schema: Schema, window_days: int) -> ModelSpec:
    candidate = Candidate(name="boosting", estimator="hist_gradient_boosting")
    training = Training(
        metric="log_loss", split=Split(method="time", test=0.2), candidates=(candidate,), window_days=window_days
    )
    return ModelSpec(name="inferred", description="Inferred from the data.", data=schema, training=training)
