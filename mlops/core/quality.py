"""Data quality: files become text frames, and text frames become good typed rows and bad rows with reasons."""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pandas import DataFrame, Series, concat, to_datetime

from mlops.core.schema import Column, Schema, Target

ROW, REASON = "_row", "_reason"
SHOWN = 80
"""Characters of a bad value that its reason quotes; the row itself keeps all of it."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_INFINITY = r"[+-]?(?i:inf(?:inity)?)"
_DATE = r"\d{4}-\d{2}-\d{2}"
_LARGEST = float(np.finfo(np.float32).max)

_Problem = tuple["Series[bool]", str]
"""Rows that break a rule, and the rule as the end of a sentence whose subject is the value."""


class FileError(ValueError):
    """A file cannot be used at all: its name and the reason."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


class Checked(NamedTuple):
    """The rows of a file, apart: ``good`` is typed; ``bad`` is text with ``_row`` and ``_reason``."""

    good: DataFrame
    bad: DataFrame


def read_csv(data: bytes, name: str) -> DataFrame:
    """Read a comma-separated file (UTF-8, one header line) as text; an empty field is ``""``.

    Raises:
        FileError: the file is empty, has no rows, is not UTF-8, names a column twice, leaves a
            quote open, or has a row with more or fewer fields than the header.
    """
    from pyarrow.csv import ConvertOptions, InvalidRow, ParseOptions, ReadOptions
    from pyarrow.csv import read_csv as arrow_csv

    names = _header(data, name)
    ragged: list[InvalidRow] = []

    def skip(row: InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    try:
        table = arrow_csv(
            pa.BufferReader(data),
            # Rows are numbered only when one thread reads.
            read_options=ReadOptions(use_threads=False),
            parse_options=ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
            ),
        )
    except pa.ArrowInvalid as error:
        raise FileError(name, f"not a CSV file: {error}") from None
    if ragged:
        row = ragged[0]
        raise FileError(
            name,
            f"row {row.number - 1} has {row.actual_columns} fields, the header {row.expected_columns}"
            f" ({len(ragged)} such rows); quote values that contain a comma",
        )
    return _filled(table.to_pandas(), name)


def read_parquet(data: bytes, name: str) -> DataFrame:
    """Read a Parquet file as text, as ``read_csv`` would; null and not-a-number become ``""``.

    Raises:
        FileError: the file is not Parquet, has no rows, names a column twice, or has a column
            that is no plain value.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise FileError(name, f"not a Parquet file: {error}") from None
    _refuse_repeated(table.column_names, name)
    texts = {}
    for column, values in zip(table.column_names, table.columns, strict=True):
        try:
            text = pc.fill_null(pc.cast(values, pa.string()), "")
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            raise FileError(name, f"column {column!r} has type {values.type}; use numbers, text or times") from None
        missing = pc.is_in(text, pa.array(["nan"])) if pa.types.is_floating(values.type) else None
        texts[column] = text if missing is None else pc.if_else(missing, "", text)
    return _filled(pa.table(texts).to_pandas(), name)


def check(raw: DataFrame, schema: Schema, name: str, labelled: bool = True) -> Checked:
    """Check a text frame against a schema and type what passes.

    ``good`` has the schema's columns in order, then the target when ``labelled``: numbers and
    integers float64, categories text, times datetime64[us, UTC], missing values null. ``bad`` has
    the text as it came, with ``_row`` (1 is the first data row) and ``_reason`` (every field that
    is wrong, its value and the rule it breaks). Of rows that repeat a key, the first good one stays.

    Raises:
        FileError: columns are absent or unknown.
    """
    _refuse_columns(raw, schema, name, labelled)
    typed: dict[str, Series] = {}
    reasons = Series("", index=raw.index, dtype=object)
    for column in (*schema.columns, *((schema.target,) if labelled else ())):
        text = raw[column.name].fillna("").str.strip()
        typed[column.name], problems = _typed(text, column)
        for broken, rule in problems:
            _add(reasons, broken, column.name + " " + _quoted(text[broken]) + " " + rule)
    frame = DataFrame(typed, index=raw.index)
    rows = Series(np.arange(1, len(raw) + 1), index=raw.index)
    if schema.unique:
        _add_repeats(reasons, frame[reasons == ""], rows, schema.unique)
    is_bad = reasons != ""
    bad = concat([raw[is_bad], rows[is_bad].rename(ROW), reasons[is_bad].astype("str").rename(REASON)], axis=1)
    return Checked(frame[~is_bad].reset_index(drop=True), bad.reset_index(drop=True))


def _header(data: bytes, name: str) -> list[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(name, f"not UTF-8: byte 0x{data[error.start]:02x} in line {line}; save it as UTF-8") from None
    if not text.strip():
        raise FileError(name, "the file is empty")
    if data.count(b'"') % 2:
        # Read on, the open quote would swallow all rows after it.
        raise FileError(name, 'a quote (") is opened and never closed; write a quote inside a value twice')
    names = next((row for row in csv.reader(io.StringIO(text)) if row), [])
    _refuse_repeated(names, name)
    return names


def _filled(frame: DataFrame, name: str) -> DataFrame:
    if frame.empty:
        raise FileError(name, "the file has a header and no rows")
    return frame


def _refuse_repeated(names: list[str], name: str) -> None:
    if repeated := sorted({column for column in names if names.count(column) > 1}):
        raise FileError(name, f"columns named twice: {', '.join(repeated)}")


def _refuse_columns(raw: DataFrame, schema: Schema, name: str, labelled: bool) -> None:
    expected = [column.name for column in schema.columns] + ([schema.target.name] if labelled else [])
    absent = [column for column in expected if column not in raw.columns]
    unknown = [column for column in raw.columns if column not in expected]
    if absent and len(raw.columns) == 1 < len(expected):
        raise FileError(name, f"only one column, {unknown[0] if unknown else expected[0]!r}: is the delimiter a comma?")
    parts = [f"absent columns: {', '.join(absent)}"] if absent else []
    parts += [f"unknown columns: {', '.join(map(repr, unknown))} (declare or remove them)"] if unknown else []
    if parts:
        raise FileError(name, "; ".join(parts))


def _typed(text: Series, column: Column | Target) -> tuple[Series, list[_Problem]]:
    """Type one column; wrong values come out as anything, with the rules they break."""
    missing = text == ""
    if isinstance(column, Target):
        labels = _labels(text, column)
        return labels, [(labels.isna(), f"is none of the classes {', '.join(column.classes)}")]
    problems = [] if column.nullable else [(missing, "must not be missing")]
    if column.type == "category":
        if column.values:
            problems.append((~missing & ~text.isin(column.values), f"is none of {', '.join(column.values)}"))
        return text.where(~missing), problems
    if column.type == "time":
        values = to_datetime(text.where(text.str.match(_DATE)), utc=True, format="ISO8601", errors="coerce")
        problems.append((~missing & values.isna(), "is not a time (ISO 8601, such as 2013-02-20T12:00:00Z)"))
        return values.astype("datetime64[us, UTC]"), problems
    numbers = _numbers(text)
    return numbers, [*problems, *_number_problems(text, numbers, missing, column)]


def _numbers(text: Series) -> Series:
    """Decimal text as float64, correctly rounded (``pandas.to_numeric`` is not); all else missing."""
    return text.where(text.str.fullmatch(_NUMBER)).astype("float64")


def _number_problems(text: Series, numbers: Series, missing: Series, column: Column) -> Iterator[_Problem]:
    infinite = text.str.fullmatch(_INFINITY) | (numbers.abs() > _LARGEST)
    yield infinite, "is infinite (beyond a 32-bit float)"
    yield ~missing & ~infinite & numbers.isna(), "is not a number"
    finite = numbers.where(~infinite)
    if column.min is not None:
        yield finite < column.min, f"is below the minimum {column.min:g}"
    if column.max is not None:
        yield finite > column.max, f"is above the maximum {column.max:g}"
    if column.type == "integer":
        yield finite.notna() & (finite % 1 != 0), "is not a whole number"


def _labels(text: Series, target: Target) -> Series:
    """Find the class of each label by its text or (``1.0`` for class ``1``) by its number; else missing."""
    labels = text.where(text.isin(target.classes))
    values = _numbers(Series(target.classes, dtype="str")).tolist()
    by_number = {value: label for value, label in zip(values, target.classes, strict=True) if value == value}
    return labels.fillna(_numbers(text).map(by_number).astype(text.dtype))


def _quoted(text: Series) -> Series:
    return "'" + text.str.slice(0, SHOWN) + "'"


def _add(reasons: Series, broken: Series, texts: Series) -> None:
    """Append to the reasons of the rows that ``broken`` marks, in place."""
    before = reasons[broken]
    reasons[broken] = before.where(before == "", before + "; ") + texts.astype(object)


def _add_repeats(reasons: Series, frame: DataFrame, rows: Series, unique: tuple[str, ...]) -> None:
    repeats = frame.duplicated(list(unique))
    if not repeats.any():
        return
    first = rows[frame.index].groupby([frame[column] for column in unique], dropna=False).transform("min")
    text = "repeats row " + first[repeats].astype("str") + f" ({', '.join(unique)} must be unique)"
    _add(reasons, repeats.reindex(reasons.index, fill_value=False), text)
