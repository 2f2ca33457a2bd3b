"""Data quality: files become text frames, and text frames become good typed rows and bad rows with reasons."""

import csv
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pandas import DataFrame, Series, concat, to_datetime

from mlops.core.schema import Column, Schema, Target
from mlops.core.text_files import fault, header, longest_line

ROW, REASON = "_row", "_reason"
SHOWN = 80
"""Characters of a bad value that its reason quotes; the row itself keeps all of it."""
SHOWN_NAMES = 10
"""Most columns that a reason names."""

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
INFINITY = r"[+-]?(?i:inf(?:inity)?)"
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
        FileError: the file is empty, has no rows, is no text in UTF-8, names a column twice, has a stray
            quote or another delimiter, or a row with more or fewer fields than the header.
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
        if "straddl" in str(error):
            line, size = longest_line(data)
            raise FileError(name, f"line {line} is too long ({size:,} bytes); is it one row of a table?") from None
        raise FileError(name, f"not a CSV file: {error}") from None
    if ragged:
        row = ragged[0]
        whole = len(ragged) + table.num_rows
        raise FileError(name, _ragged(len(ragged), row.number - 1, row.actual_columns, row.expected_columns, whole))
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
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            _refuse_repeated(file.schema_arrow.names, name)
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        todo = "was it cut off on its way? Send it again" if b"PAR1" in (data[:4], data[-4:]) else "give CSV or Parquet"
        raise FileError(name, f"not a Parquet file, or a damaged one ({error}); {todo}") from None
    if not table.num_columns:
        raise FileError(name, "the file has no columns")
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
    if wrong := fault(data):
        raise FileError(name, wrong)
    try:
        names = header(data)
    except csv.Error as error:
        raise FileError(name, f"the header cannot be read: {error}") from None
    _refuse_repeated(names, name)
    return names


def _ragged(rows: int, first: int, fields: int, expected: int, whole: int) -> str:
    """Say which row has too many or too few fields, and what may be meant."""
    todo = "quote values that contain a comma" if fields > expected else "leave the field of an absent value empty"
    if rows >= whole:
        todo = "remove what stands above the line with the columns' names, or name every column there"
    return f"row {first} has {fields} fields, the header {expected} ({rows} such rows); {todo}"


def _filled(frame: DataFrame, name: str) -> DataFrame:
    if frame.empty:
        raise FileError(name, "the file has a header and no rows")
    return frame


def _refuse_repeated(names: list[str], name: str) -> None:
    if repeated := sorted({column for column in names if names.count(column) > 1}):
        shown = ", ".join(column or "(no name)" for column in repeated[:SHOWN_NAMES])
        more = f" and {len(repeated) - SHOWN_NAMES} more" if len(repeated) > SHOWN_NAMES else ""
        raise FileError(name, f"columns named twice: {shown}{more}")


def _refuse_columns(raw: DataFrame, schema: Schema, name: str, labelled: bool) -> None:
    expected = [column.name for column in schema.columns] + ([schema.target.name] if labelled else [])
    absent = [column for column in expected if column not in raw.columns]
    unknown = [column for column in raw.columns if column not in expected]
    if absent and len(raw.columns) == 1 < len(expected):
        raise FileError(name, f"only one column, {unknown[0] if unknown else expected[0]!r}: is the delimiter a comma?")
    if reserved := [column for column in (ROW, REASON) if column in raw.columns]:
        raise FileError(name, f"column {reserved[0]!r} has a reserved name; rename it")
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
    return text.where(text.str.fullmatch(NUMBER)).astype("float64")


def _number_problems(text: Series, numbers: Series, missing: Series, column: Column) -> Iterator[_Problem]:
    infinite = text.str.fullmatch(INFINITY) | (numbers.abs() > _LARGEST)
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
