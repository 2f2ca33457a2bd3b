"""A verdict for a terminal: reasons, what to do, and what the columns that differ were and are."""

from mlops.core.findings import ALL_COLUMNS
from mlops.core.sentences import called
from mlops.core.verdict import Verdict
from mlops.core.verdict_page import RANGES, SHOWN, changes

TO_DO = {
    "ok": "Nothing to do.",
    "wait": "Give more rows, or more labels.",
    "investigate": "Look at the columns named. Inputs that moved are no reason to retrain as long as the loss holds.",
    "retrain": "Train on newer rows, and compare both models on rows that neither has seen.",
    "data_incident": "Mend the source named, and do not train on these rows.",
}
WIDTH = 60
"""Widest cell of the table; longer text is cut."""


def told(verdict: Verdict, before: str, now: str) -> str:
    """Write a verdict as lines of text."""
    count = "1 row" if verdict.rows == 1 else f"{verdict.rows:,} rows"
    lines = [f"{verdict.verdict.replace('_', ' ').upper()}: {now} against {before}, {count}", ""]
    lines += [f"  - {reason}" for reason in verdict.reasons]
    lines += ["", f"  What to do: {TO_DO[verdict.verdict]}"]
    compared = [
        called(name) for name in dict.fromkeys(found.column for found in verdict.columns) if name != ALL_COLUMNS
    ]
    rows, left = changes(verdict.columns)
    if compared and not rows:
        more = f" and {len(compared) - SHOWN} more" if len(compared) > SHOWN else ""
        lines += [f"  Compared: {', '.join(compared[:SHOWN])}{more}."]
    if rows:
        lines += ["", *_table([("column", "what changed", "in the reference", "now"), *rows])]
    if left:
        lines.append(f"  and {left} more")
    if rows:
        lines += ["", f"  {RANGES}"]
    return "\n".join(lines) + "\n"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    short = [[cell if len(cell) <= WIDTH else f"{cell[: WIDTH - 1]}…" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in short
    ]
