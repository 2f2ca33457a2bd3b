"""The verdict's page: what happened, since when, what to do, which columns; the numbers last."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mlops.core.findings import INCIDENTS, Finding
from mlops.core.sentences import CHANGES, called, number, plain

if TYPE_CHECKING:
    from mlops.core.verdict import Verdict

HEADLINES = {
    "ok": "All is well: the data and the model are as in training.",
    "wait": "Too early to tell.",
    "investigate": "Something changed. Have a look; nothing is retrained.",
    "retrain": "The model got worse, and not only once. A retraining was asked for.",
    "data_incident": "The data are broken. Mend their source; the model is not to blame and is not retrained.",
}
TODO = {
    "ok": "Nothing.",
    "wait": "Nothing yet.",
    "investigate": "Look at the columns below: do you know why they changed? Nothing is retrained for them alone.",
    "retrain": "Nothing: the retraining runs by itself, and its result is compared with this model before it serves.",
    "data_incident": "Ask whoever sends the data named below to check it. Distrust the predictions of this window.",
}
WORSE = "Look at what got worse: do you know why? If the model stays worse, a retraining follows by itself."
"""What to do about a model that is worse for the first time."""
SHOWN = 12
"""Most columns in the table."""
SHOWN_VALUES = 3
"""Most values of a category in a cell: the page is no wider."""
RANGES = "Numbers: the mean, and in brackets the range of nine in ten rows."


def markdown(verdict: "Verdict", title: str) -> str:
    """Write a verdict as a page in Markdown."""
    todo = WORSE if verdict.verdict == "investigate" and verdict.worse else TODO[verdict.verdict]
    lines = [f"# {verdict.verdict.replace('_', ' ')}: {title}", "", f"**{HEADLINES[verdict.verdict]}**", ""]
    lines += [f"**What to do:** {todo}", ""]
    lines += ["## What happened", "", *(f"- {_harmless(reason)}" for reason in verdict.reasons), ""]
    if verdict.since and verdict.since != verdict.start:
        lines += [f"**Since when:** {_moment(verdict.since)}; windows from then on were not all right.", ""]
    elif verdict.start:
        lines += [f"**When:** {_moment(verdict.start)} to {_moment(verdict.end)}.", ""]
    lines += _performance(verdict)
    lines += _changed(verdict.columns)
    # Prefect's pages fold away only what stands in one block of HTML.
    return "\n".join([*lines, f"<details><summary>All numbers</summary>{_numbers(verdict)}</details>"]) + "\n"


def changes(columns: Sequence[Finding]) -> tuple[list[tuple[str, str, str, str]], int]:
    """List what changed: column, what, in training, now, in the column's own unit; incidents first.

    Returns:
        One row a column, at most ``SHOWN``, and how many more there are.
    """
    drifted = [found for found in columns if found.drifted]
    told: dict[tuple[str, bool], Finding] = {}
    values: dict[str, Finding] = {}
    for found in sorted(drifted, key=lambda found: (found.kind not in INCIDENTS, -abs(found.effect))):
        told.setdefault((found.column, found.kind in {"pair", "missing"}), found)
        if found.before and found.kind not in {"pair", "missing"}:
            values.setdefault(found.column, found)
    # An incident has no values of its own; those of a drifted test of the same column tell what is meant.
    rows = [_row(found, values.get(found.column, found)) for found in list(told.values())[:SHOWN]]
    return rows, len(told) - len(rows)


def _changed(columns: Sequence[Finding]) -> list[str]:
    """The table of what changed."""
    rows, left = changes(columns)
    if not rows:
        return []
    return [
        "## What changed",
        "",
        "| column | what | in training | now |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(map(_cell, row))} |" for row in rows),
        *(["", f"and {left} more"] if left else []),
        "",
        RANGES,
        "",
    ]


def _row(found: Finding, other: Finding) -> tuple[str, str, str, str]:
    what = CHANGES[found.kind].format(partner=called(found.partner), effect=found.effect)
    if found.kind == "location":
        what = "higher" if found.effect > 0 else "lower"
    elif found.kind == "scale":
        what = "more spread" if found.effect > 0 else "less spread"
    shown = found if found.before or found.now else other
    return called(found.column), what, _values(shown, shown.before), _values(shown, shown.now)


def _values(found: Finding, shown: dict[str, float]) -> str:
    if found.kind in {"chi2", "missing", "confidence", "classes", "labels", "unseen"}:
        return ", ".join(f"{called(name)} {share:.1%}" for name, share in list(shown.items())[:SHOWN_VALUES])
    if found.kind == "pair":
        return ", ".join(f"{name} {value:.2f}" for name, value in shown.items())
    if "50%" not in shown:
        return ", ".join(f"{called(name)} {value:.4g}" for name, value in shown.items())
    return f"{shown.get('mean', shown['50%']):.4g} ({shown['5%']:.4g} to {shown['95%']:.4g})"


def _performance(verdict: "Verdict") -> list[str]:
    """How good the model is: measured where labels are, else estimated."""
    if verdict.estimated:
        accuracy, loss = verdict.estimated["accuracy"], verdict.estimated["log_loss"]
        return [
            f"**How good is the model?** Estimated without labels: right in about {accuracy:.1%} of the rows"
            f" (log loss {loss:.3f}). Only labels can tell.",
            "",
        ]
    right, before = verdict.numbers.get("accuracy"), verdict.numbers.get("reference_accuracy")
    if right is None or before is None:
        return []
    return [
        f"**How good is the model?** Right in {right:.1%} of {verdict.labelled} rows; {before:.1%} in training.",
        "",
    ]


def _numbers(verdict: "Verdict") -> str:
    rows = [("version", verdict.version), ("rows", str(verdict.rows)), ("labelled", str(verdict.labelled))]
    rows += [(name.replace("_", " "), number(value)) for name, value in verdict.numbers.items()]
    rows += [(f"estimated {name.replace('_', ' ')}", number(value)) for name, value in verdict.estimated.items()]
    found = _table(("number", "value"), rows)
    tests = sorted([*verdict.performance, *verdict.columns], key=lambda found: (not found.drifted, -abs(found.effect)))
    if tests:
        found += _table(("column", "test", "effect", "p", "threshold from", "drifted"), map(_test, tests))
    return found


def _test(found: Finding) -> tuple[str, ...]:
    name = found.column + (f", {found.partner}" if found.partner else "") + (f": {found.slice}" if found.slice else "")
    p_value = "" if found.p_value is None else f"{found.p_value:.2g}"
    source, drifted = "past windows" if found.calibrated else "", "yes" if found.drifted else ""
    return name, found.kind.replace("_", " "), f"{found.effect:.3f}", p_value, source, drifted


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML, in one line."""
    shown = ("".join(f"<td>{_escaped(plain(cell))}</td>" for cell in row) for row in rows)
    names = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><tr>{names}</tr>{''.join(f'<tr>{row}</tr>' for row in shown)}</table>"


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")


def _cell(text: str) -> str:
    """Text from data, made harmless in a Markdown table."""
    return _harmless(text).replace("|", "\\|")


def _harmless(text: str) -> str:
    """Text from data, made harmless in Markdown: neither tags nor links, code, stress or lines of their own."""
    shown = _escaped(" ".join(text.split())).replace("\\", "\\\\")
    return shown.replace("`", "\\`").replace("[", "\\[").replace("*", "\\*")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
