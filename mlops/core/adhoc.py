"""One verdict for two tables, without a store, a model or a spec.

The verdict is the one of production; this module only brings two files into its form
(``mlops.core.adhoc_answers`` finds probabilities where there are labels). Without labels only
inputs, and predictions as one more column, are compared.
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame, Series

from mlops.core.adhoc_answers import REFERENCE, Rows, answers
from mlops.core.adhoc_times import broken_times
from mlops.core.inference import blank_missing, infer_columns, infer_target, is_number, misread, require
from mlops.core.quality import REASON, ROW, SHOWN_NAMES, Checked, FileError, check
from mlops.core.schema import Schema, Target
from mlops.core.sentences import called
from mlops.core.verdict import Verdict, judge
from mlops.spec import Drift, ModelSpec

BOOLEANS = {"true", "false"}
CLASSES = ("0", "1")
"""Of the target that stands for that of tables without labels."""


@dataclass(frozen=True)
class Table:
    """A table of text and the name of its file."""

    raw: DataFrame
    name: str


@dataclass(frozen=True)
class Roles:
    """Columns with labels and with predictions; none: there are none."""

    target: str | None = None
    prediction: str | None = None


class Compared(NamedTuple):
    """The verdict, and in a sentence each which columns of the reference were left out."""

    verdict: Verdict
    notes: tuple[str, ...]


def verdict_of(before: Table, now: Table, roles: Roles, spec: ModelSpec | None = None) -> Compared:
    """Judge the current table against the reference, as one window of an unknown model.

    A single window is all there is, so that it alone decides (``agree`` is 1 of 1).

    Args:
        before: the reference.
        now: the current table; unreadable values, absent and unknown columns are data incidents.
        roles: which columns hold labels and predictions.
        spec: names columns, types and the policy; none: they are inferred from the reference.

    Raises:
        FileError: the reference cannot be used or is too small, no column of it is in the current table, a named
            column is absent, named twice or not the spec's, or labels are given without predictions and no model
            can be fitted.
    """
    policy = msgspec.structs.replace(spec.drift if spec else Drift(), agree=1, of=1)
    _refuse(before, now, roles, policy)
    if spec and roles.target not in (None, spec.data.target.name):
        raise FileError(
            before.name, f"--target is {roles.target!r}, the spec's is {spec.data.target.name!r}; name that one"
        )
    if spec is None:
        before, now = _same_booleans(before, now)
    schema, notes = (spec.data, ()) if spec else _inferred(before, roles)
    for column in schema.features:
        require(before.raw, before.name, column.name)
    known = _read(before, schema, roles)
    if known.broken:
        raise FileError(before.name, known.broken[0].removeprefix("In "))
    found = _read(now, schema, roles)
    # With too few rows for the tests, what needs no test is told all the same.
    tested = {column.name for column in schema.features} if len(found.frame) >= policy.min_rows else set()
    broken = [*_changed(before, now, schema, tested), *found.broken]
    if found.frame.empty:
        empty = Verdict(verdict="data_incident", reasons=(), version=REFERENCE, rows=len(now.raw), labelled=0)
        return Compared(_with(empty, broken), notes)
    profile, probabilities, wrong = answers(known, found, schema, roles.prediction, policy.min_rows, spec)
    given = judge(profile, found.frame, probabilities, found.labels, schema, policy, REFERENCE)
    return Compared(_with(given, [*broken, *wrong]), notes)


def _refuse(before: Table, now: Table, roles: Roles, policy: Drift) -> None:
    """Refuse roles that make no sense, a reference that shows nothing, and tables that are not of one kind."""
    if roles.target and roles.target == roles.prediction:
        raise FileError(before.name, f"{roles.target!r} is named as --target and as --prediction; they are two columns")
    for wanted in filter(None, (roles.target, roles.prediction)):
        require(before.raw, before.name, wanted)
    if len(before.raw) < policy.min_rows:
        raise FileError(before.name, f"{len(before.raw)} rows are no reference; it needs {policy.min_rows} or more")
    if not set(before.raw.columns) & set(now.raw.columns):
        has = ", ".join(called(str(name)) for name in now.raw.columns[:SHOWN_NAMES])
        raise FileError(
            now.name,
            f"it has no column of the reference, but {has}; do both hold the same table, with a first line of names"
            " and commas between them?",
        )
    for wanted in filter(None, (roles.target, roles.prediction)):
        require(now.raw, now.name, wanted)


def _inferred(before: Table, roles: Roles) -> tuple[Schema, tuple[str, ...]]:
    """Infer a schema whose columns may all be missing: how much is missing is for the verdict to judge."""
    # Without labels a prediction is one more column to compare.
    apart = [name for name in (roles.target, roles.prediction if roles.target else None) if name]
    columns, notes = infer_columns(before.raw.drop(columns=apart), before.name)
    target = Target("_none" + "_" * max(map(len, before.raw.columns)), CLASSES)
    if roles.target:
        target = infer_target(before.raw[roles.target].str.strip(), before.name, roles.target)
    return Schema(tuple(msgspec.structs.replace(each, nullable=True) for each in columns), target), notes


def _read(table: Table, schema: Schema, roles: Roles) -> Rows:
    present = tuple(column for column in schema.columns if column.name in table.raw)
    part = msgspec.structs.replace(schema, columns=present, unique=())
    raw = blank_missing(table.raw[[column.name for column in present]], part)
    checked = check(raw, part, table.name, labelled=False)
    kept = _kept(checked, len(raw))
    broken = [] if checked.bad.empty else _unreadable(raw, checked, part)
    labels = predictions = None
    if roles.target:
        labels, wrong = _labels(table, schema.target)
        labels = labels.iloc[kept].reset_index(drop=True)
        broken += wrong
    if roles.target and roles.prediction:
        predictions = table.raw[roles.prediction].str.strip().iloc[kept]
    return Rows(table.name, checked.good, labels, predictions, tuple(broken))


def _kept(checked: Checked, rows: int) -> NDArray[np.int64]:
    return np.delete(np.arange(rows), checked.bad[ROW].to_numpy(dtype=np.int64) - 1)


def _unreadable(raw: DataFrame, checked: Checked, schema: Schema) -> list[str]:
    """Say for each column of numbers, then for the rest, which rows could not be read and why."""
    found, told = [], np.zeros(len(raw), dtype=bool)
    for name in (column.name for column in schema.columns if column.type in ("number", "integer")):
        text = raw[name].str.strip()
        wrong = text.ne("") & ~is_number(text)
        if wrong.any():
            why = misread(text, wrong, name, "leave the field empty")
            found.append(f"In {why}; mend its source.")
            told |= wrong.to_numpy()
    other = checked.bad[~told[checked.bad[ROW].to_numpy(dtype=np.int64) - 1]]
    if len(other):
        first = other.iloc[0]
        found.append(f"In row {first[ROW]}: {first[REASON]} ({len(other)} such rows); mend its source.")
    return found


def _labels(table: Table, target: Target) -> tuple[Series, list[str]]:
    """Read labels as classes, missing where there is none; and what is neither."""
    alone = Schema((), target)
    checked = check(blank_missing(table.raw[[target.name]], alone), alone, table.name)
    labels = Series(None, index=range(len(table.raw)), dtype=object)
    labels.iloc[_kept(checked, len(table.raw))] = checked.good[target.name].to_numpy()
    wrong = checked.bad[checked.bad[target.name].str.strip() != ""]
    if wrong.empty:
        return labels, []
    return labels, [f"In row {wrong.iloc[0][ROW]}: {wrong.iloc[0][REASON]} ({len(wrong)} such rows)."]


def _changed(before: Table, now: Table, schema: Schema, tested: set[str]) -> list[str]:
    """Name columns that came or went or lost all values (those that are tested are the verdict's), and broken times."""
    features = {column.name for column in schema.features}
    unknown = [str(name) for name in now.raw.columns if name not in before.raw.columns]
    absent = [str(name) for name in before.raw.columns if name not in now.raw.columns and name not in tested]
    emptied = [name for name in features - tested if name in now.raw and _is_empty(now, name)]
    found = [
        f"Column {called(name)}: the reference has none of this name; find out why it is sent." for name in unknown
    ]
    found += [f"Column {called(name)}: it is absent; find out why its source no longer sends it." for name in absent]
    found += [
        f"Column {called(name)}: it is empty; find out why its source no longer fills it."
        for name in sorted(emptied)
        if not _is_empty(before, name)
    ]
    for name in before.raw.columns:
        if name in now.raw and name not in features and name != schema.target.name:
            found += broken_times(str(name), before.raw[name].str.strip(), now.raw[name].str.strip())
    return found


def _is_empty(table: Table, name: str) -> bool:
    return bool((table.raw[name].str.strip() == "").all())


def _same_booleans(before: Table, now: Table) -> tuple[Table, Table]:
    """Write columns of booleans alike: ``True`` in one program's file is ``true`` or ``TRUE`` in another's."""
    named = [
        str(name)
        for name in before.raw.columns
        if name in now.raw
        and set(before.raw[name].str.strip().str.lower().unique()) - {""} <= BOOLEANS
        and set(now.raw[name].str.strip().str.lower().unique()) - {""} <= BOOLEANS
    ]
    one, other = (
        Table(each.raw.assign(**{name: each.raw[name].str.strip().str.lower() for name in named}), each.name)
        for each in (before, now)
    )
    return one, other


def _with(given: Verdict, broken: list[str]) -> Verdict:
    """Add what is broken, which makes any verdict an incident."""
    if not broken:
        return given
    own = given.reasons if given.verdict == "data_incident" else ()
    return msgspec.structs.replace(given, verdict="data_incident", reasons=(*broken, *own))
