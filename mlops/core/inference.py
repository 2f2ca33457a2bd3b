"""Types of a table that has no spec: what each column is, as a schema, and what was left out and why."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
from pandas import DataFrame, Series

from mlops.core.quality import INFINITY, NUMBER, SHOWN_NAMES, FileError
from mlops.core.schema import Column, Schema, Target
from mlops.core.sentences import called, plain

NO_LABEL = ("nan", "NaN", "NAN", "-nan", "-NaN", "null", "NULL", "<NA>", "#N/A", "#NA")
"""What programs write for a missing value of any type; nobody calls a class so."""
MISSING = (*NO_LABEL, "NA", "N/A", "n/a", "None", "none", "-", "?", ".")
"""Texts that mean a missing value in a column of numbers; among categories they are values."""
MOST_CATEGORIES = 255
"""Most different texts of a feature; a column with more is an identifier or free text."""
MOST_CLASSES = 50
NUMERIC_SHARE = 0.9
"""From this share of numbers on, a column is one of numbers, and any other text in it is a mistake."""

_COMMA = r"[+-]?(?:\d{1,3}(?:[. ']\d{3})+|\d+),\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}"
_THOUSANDS = r"[+-]?\d{1,3}(?:[, ']\d{3})+(?:\.\d+)?"
_ISO = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?"
_MONTH = r"(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY, _YEAR = r"\d{1,2}", r"(?:19|20)\d{2}"
_DATES = (
    rf"{_DAY}/{_DAY}/(?:{_YEAR}|\d{{2}})",
    *(rf"{_DAY}{by}{_DAY}{by}{_YEAR}" for by in ("-", r"\.")),
    *(rf"{_YEAR}{by}{_DAY}{by}{_DAY}" for by in ("/", "-", r"\.")),
    rf"{_YEAR}[/-]{_DAY}",
    rf"{_DAY}[ /-]{_MONTH}[ /-](?:{_YEAR}|\d{{2}})",
    rf"{_MONTH} {_DAY},? {_YEAR}",
)
_DATE = rf"(?:{'|'.join(_DATES)})(?:,?[T ]\d{{1,2}}:\d{{2}}.*)?"
"""Dates as programs and people write them otherwise, and months."""
KEY_ROWS = 30
"""From so many rows on, whole numbers that only rise, or only fall, are keys or times and no chance."""
KEY_SHARE = 0.9
"""Share of different values from which they are."""
_ZONE = r".*\d(?:Z|[+-]\d{2}:?\d{2})"


class Inferred(NamedTuple):
    """A schema, and in a sentence each what a user should know about it."""

    schema: Schema
    notes: tuple[str, ...]


def infer(raw: DataFrame, name: str, target: str, time: str | None = None) -> Inferred:
    """Infer the schema of a table.

    Numbers are numbers, other texts categories. Left out of the model: columns that are empty, that
    count the rows, that hold times, or more different texts than a category has.

    Args:
        raw: text, a missing value ``""``.
        name: the file, for messages.
        target: the column to predict; its values are the classes.
        time: the column of event times.

    Raises:
        FileError: a column is absent, has numbers that are written otherwise, or the target is no class.
    """
    for wanted in filter(None, (target, time)):
        require(raw, name, wanted)
    classes = infer_target(raw[target].str.strip(), name, target)
    columns, notes = infer_columns(raw.drop(columns=target), name, time)
    return Inferred(Schema(columns, classes), notes)


def infer_columns(raw: DataFrame, name: str, time: str | None = None) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Infer the input columns of a table; all arguments and errors as for ``infer``."""
    found, notes = [], []
    for column in raw.columns:
        if column == time:
            found.append(Column(column, "time"))
            continue
        kind, note = infer_column(raw[column].str.strip(), name, str(column))
        found.append(kind)
        notes += [note] if note else []
    if not any(column.feature and column.type != "time" for column in found):
        raise FileError(name, f"no column is a feature: {' '.join(notes) or 'there is none besides'}")
    return tuple(found), tuple(notes)


def require(raw: DataFrame, name: str, column: str) -> None:
    """Raise a ``FileError`` that lists the columns there are, unless the table has one of this name."""
    if column not in raw.columns:
        from difflib import get_close_matches

        close = get_close_matches(column, list(map(str, raw.columns)), 1)
        meant = f"; did you mean {close[0]!r}?" if close else "."
        has = [called(str(each)) for each in raw.columns]
        more = f" and {len(has) - SHOWN_NAMES} more" if len(has) > SHOWN_NAMES else ""
        raise FileError(name, f"there is no column {column!r}{meant} It has: {', '.join(has[:SHOWN_NAMES])}{more}")


def infer_target(text: Series, name: str, target: str) -> Target:
    """Take a column's values as classes, numbers in their order."""
    present = text[(text != "") & ~text.isin(NO_LABEL)]
    values: Iterable[str] = present.unique()
    numbers = pd.to_numeric(Series(list(values), dtype="object"), errors="coerce")
    if len(numbers) and numbers.notna().all():
        by_number = dict(sorted(zip(numbers[::-1], list(values)[::-1], strict=True)))
        classes = tuple(by_number.values())
    else:
        classes = tuple(sorted(values))
    if len(classes) < 2:
        only = f"only one class, {classes[0]!r}" if classes else "no value"
        raise FileError(name, f"column {target!r} has {only}; a classifier needs rows of two or more")
    if len(classes) > MOST_CLASSES:
        raise FileError(
            name,
            f"column {target!r} has {len(classes)} different values, such as {classes[0]!r}; a target has"
            f" {MOST_CLASSES} classes at most: name another column, or make classes of its values",
        )
    return Target(target, classes)


def infer_column(text: Series, name: str, column: str) -> tuple[Column, str]:
    """Say what a column of stripped text is, and in a sentence why it is left out, if it is.

    Raises:
        FileError: it is of numbers, and some are not written as such.
    """
    present = text[(text != "") & ~text.isin(MISSING)]
    nullable = len(present) < len(text)
    shown = called(column)
    if present.empty:
        return Column(column, "category", nullable=True, feature=False), f"Column {shown} is empty: left out."
    numeric = is_number(present)
    likely = numeric | present.str.fullmatch(f"(?:{INFINITY})|(?:{_COMMA})|(?:{_THOUSANDS})")
    if not numeric.all() and likely.mean() >= NUMERIC_SHARE:
        raise FileError(name, misread(present, ~numeric, column))
    if numeric.all():
        if told := _tells_rows_apart(text):
            return Column(column, "number", feature=False), f"Column {shown} {told}: left out."
        return Column(column, "number", nullable=nullable), ""
    if (present.str.fullmatch(_ISO) | present.str.fullmatch(_DATE)).all():
        return Column(column, "category", nullable=True, feature=False), f"Column {shown} holds times: left out."
    texts = text[text != ""]
    different = texts.nunique()
    if different > MOST_CATEGORIES:
        example = plain(str(present[~numeric].iloc[0]))
        share = f", {numeric.mean():.0%} of them numbers" if numeric.any() else ""
        count = f"{different} different texts such as {example!r}{share}"
        note = f"Column {shown} has {count}, too many for a category: left out."
        return Column(column, "category", nullable=True, feature=False), note
    return Column(column, "category", nullable=len(texts) < len(text)), ""


def misread(text: Series, wrong: Series, column: str, todo: str = "declare the column a category in a spec") -> str:
    """Say which value of a column of numbers is none, where, and what to do.

    Args:
        text: stripped text, by its position in the file.
        wrong: which of it is no number.
        column: its name.
        todo: instead of correcting it, when it is not a number at all.
    """
    row, value, rows = int(str(wrong.idxmax())) + 1, str(text[wrong].iloc[0]), int(wrong.sum())
    one = Series([value])
    if one.str.fullmatch(INFINITY).all():
        what = "is infinite; leave the field empty or correct it"
    elif one.str.fullmatch(_THOUSANDS).all():
        what = "has thousands separators (or a decimal comma); write numbers as 1234.5"
    elif one.str.fullmatch(_COMMA).all():
        what = "has a decimal comma; write numbers as 1234.5"
    else:
        what = f"is not a number; correct it, or {todo}"
    return f"row {row}, column {column!r}: {value[:80]!r} {what} ({rows} such rows)"


def is_number(text: Series) -> "Series[bool]":
    """Which of stripped texts are finite decimal numbers."""
    return text.str.fullmatch(NUMBER)


def blank_missing(raw: DataFrame, schema: Schema) -> DataFrame:
    """Replace the texts that mean a missing number, or that there is no label, by ``""``."""
    meant: dict[str, tuple[str, ...]] = {
        c.name: MISSING for c in schema.columns if c.type in ("number", "integer") and c.name in raw
    }
    if schema.target.name in raw:
        meant[schema.target.name] = NO_LABEL
    return raw.assign(
        **{name: raw[name].where(~raw[name].str.strip().isin(texts), "") for name, texts in meant.items()}
    )


def is_time(text: Series) -> "Series[bool]":
    """Which of stripped texts are written as dates or times of ISO 8601."""
    return text.str.fullmatch(_ISO)


def zoned(text: Series) -> "Series[bool]":
    """Which of stripped texts are times with a zone."""
    return text.str.fullmatch(_ZONE)


def refuse_mixed_zones(text: Series, name: str, column: str) -> None:
    """Raise a ``FileError`` when some times have a zone and others none: nobody can tell their order."""
    stripped = text.str.strip()
    zone = zoned(stripped)
    naive = is_time(stripped) & ~zone
    if zone.any() and naive.any():
        first, other = int(zone.to_numpy().argmax()) + 1, int(naive.to_numpy().argmax()) + 1
        raise FileError(
            name,
            f"column {column!r} mixes times with and without a zone (row {first}: {text.iloc[first - 1]!r}, row"
            f" {other}: {text.iloc[other - 1]!r}); write all with one, such as 2013-02-20T12:00:00Z",
        )


def refuse_disorder(values: Series, name: str, column: str) -> None:
    """Raise a ``FileError`` for the first row that is earlier than the one before it."""
    back = values < values.shift()
    if back.any():
        at = int(back.to_numpy().argmax())
        raise FileError(
            name,
            f"row {int(values.index[at]) + 1}, column {column!r}: {values.iloc[at]} is earlier than"
            f" {values.iloc[at - 1]} before it"
            f" ({int(back.sum())} such rows); sort the file, or pass --sort",
        )


def _tells_rows_apart(text: Series) -> str:
    """Say how whole numbers go with the rows, as keys and times do and no feature does; empty: they do not."""
    if len(text) < 3 or (text == "").any() or not text.str.fullmatch(r"\d{1,15}").all():
        return ""
    numbers = text.astype("int64")
    if (numbers.diff().iloc[1:] == 1).all():
        return "counts the rows"
    ordered = numbers.is_monotonic_increasing or numbers.is_monotonic_decreasing
    if ordered and len(text) >= KEY_ROWS and numbers.nunique() >= KEY_SHARE * len(text):
        return f"only {'rises' if numbers.is_monotonic_increasing else 'falls'} from row to row, like a key or a time"
    return ""
