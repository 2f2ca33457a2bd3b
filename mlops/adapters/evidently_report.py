"""Evidently's report on a window beside its reference: a page to look at, never a verdict."""

import html
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from mlops.core.schema import Schema

PREDICTION = "prediction"


class Label(msgspec.Struct, frozen=True):
    """How a report is named in Evidently's workspace."""

    name: str
    time: datetime
    tags: tuple[str, ...] = ()


class EvidentlyReport(msgspec.Struct, frozen=True):
    """A page of a few MB that opens offline, and its headlines as plain JSON values."""

    html: bytes
    summary: dict[str, Any]
    run: Any = None
    """Evidently's own form (``evidently.core.report.Snapshot``) for its workspace; none when nothing could be drawn."""


def render(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    schema: Schema,
    labelled: bool,
    label: Label | None = None,
    max_rows: int = 2000,
    seed: int = 0,
) -> EvidentlyReport:
    """Report on the features, the prediction and, with labels, the classification.

    Columns that Evidently cannot draw (absent, all-missing, constant) are left out and named in
    the summary; no input raises. The cost is a few CPU seconds, most of it Evidently's import.

    Args:
        reference: typed rows with ``prediction`` and, when labelled, the target.
        current: the same columns of the window.
        schema: the model's columns and classes.
        labelled: whether to compare targets with predictions; rows without a label are left out.
        label: names the report for ``evidently_workspace``.
        max_rows: most rows drawn from either frame, at random.
        seed: of that sample.
    """
    target = schema.target.name
    labelled = labelled and target in reference and target in current
    before, now = (_typed(frame, schema) for frame in (reference, current))
    if labelled:
        before, now = (frame[frame[target].isin(schema.target.classes)] for frame in (before, now))
    before, now = (_sample(frame, max_rows, seed).reset_index(drop=True) for frame in (before, now))
    wanted = [*(column.name for column in schema.features), PREDICTION, *([target] if labelled else [])]
    names, left_out = _drawable(before, now, wanted)
    summary: dict[str, Any] = {"reference rows": len(before), "window rows": len(now), "left out": left_out}
    if not names:
        return EvidentlyReport(_page("No column can be drawn."), summary)
    if labelled and {PREDICTION, target} <= set(names):
        try:
            return _report(*_run(before[names], now[names], schema, True, label), summary)
        except Exception as error:  # noqa: BLE001 - as below
            left_out["classification"] = f"Evidently failed: {type(error).__name__}: {error}"
    try:
        return _report(*_run(before[names], now[names], schema, False, label), summary)
    except Exception as error:  # noqa: BLE001 - Evidently raises anything on rows that it cannot draw, and a report decides nothing.
        reason = f"{type(error).__name__}: {error}"
        return EvidentlyReport(_page(f"Evidently failed: {reason}"), summary | {"error": reason})


def _report(run: Any, page: bytes, headlines: dict[str, Any], summary: dict[str, Any]) -> EvidentlyReport:
    return EvidentlyReport(page, summary | headlines, run)


def _typed(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Give every column the one type that Evidently reads: float64 without infinities, or text."""
    frame = frame.loc[:, ~frame.columns.duplicated()]
    names = [*(column.name for column in schema.features), PREDICTION, schema.target.name]
    return pd.DataFrame(
        {
            name: _number(frame[name]) if name in schema.numbers else _text(frame[name])
            for name in names
            if name in frame
        }
    )


def _number(values: pd.Series) -> pd.Series:
    """Round to float32, which is what the model sees, and whose extremes Evidently can still put in bins."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(pd.to_numeric(values, errors="coerce"), dtype=np.float32).astype(np.float64)
    return pd.Series(np.where(np.isfinite(numbers), numbers, np.nan), index=values.index)


def _text(values: pd.Series) -> pd.Series:
    return values.astype(str).astype(object).where(values.notna(), None)


def _sample(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    return frame.sample(rows, random_state=seed).sort_index() if len(frame) > rows else frame


def _drawable(reference: pd.DataFrame, current: pd.DataFrame, names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    kept, left_out = [], {}
    for name in names:
        sides = {"the reference": reference, "the window": current}
        if absent := [side for side, frame in sides.items() if name not in frame]:
            left_out[name] = f"absent from {' and '.join(absent)}"
        elif missing := [side for side, frame in sides.items() if frame[name].isna().all()]:
            left_out[name] = f"all missing in {' and '.join(missing)}"
        elif constant := [side for side, frame in sides.items() if frame[name].nunique() == 1]:
            left_out[name] = f"constant in {' and '.join(constant)}"
        else:
            kept.append(name)
    return kept, left_out


def _run(
    reference: pd.DataFrame, current: pd.DataFrame, schema: Schema, labelled: bool, label: Label | None
) -> tuple[Any, bytes, dict[str, Any]]:
    with quiet():
        from evidently import BinaryClassification, DataDefinition, Dataset, MulticlassClassification, Report
        from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset

        target, classes = schema.target.name, schema.target.classes
        presets, roles = [DataDriftPreset(), DataSummaryPreset()], []
        if labelled:
            presets.append(ClassificationPreset())
            kind, more = (
                (BinaryClassification, {"pos_label": classes[1]})
                if len(classes) == 2
                else (MulticlassClassification, {})
            )
            roles.append(kind(target=target, prediction_labels=PREDICTION, **more))
        numbers = [name for name in schema.numbers if name in reference]
        others = [name for name in reference if name not in numbers]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=others, classification=roles or None)
        datasets = [Dataset.from_pandas(frame, data_definition=definition) for frame in (current, reference)]
        named = {"name": label.name, "timestamp": label.time, "tags": list(label.tags)} if label else {}
        result = Report(presets, include_tests=True).run(*datasets, **named)
        return result, result.get_html_str(as_iframe=False).strip().encode(), _headlines(result.dict(), labelled)


def _headlines(result: dict[str, Any], labelled: bool) -> dict[str, Any]:
    drifted = [
        str(test["metric_config"]["params"]["column"])
        for test in result["tests"]
        if test["id"] == "drift" and str(getattr(test["status"], "value", test["status"])) == "FAIL"
    ]
    found: dict[str, Any] = {"drifted columns": drifted}
    if labelled:
        for metric in result["metrics"]:
            name = metric["metric_name"].split("(")[0]
            if name in {"Accuracy", "Precision", "Recall", "F1Score"}:
                found[name.lower()] = float(metric["value"])
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Evidently and the libraries it calls warn about themselves, and its telemetry; ours stay errors."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # Asked before its import: it would report usage to a host of its own.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # numpy.core, litestar, pandas 4
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"scipy|numpy|evidently")  # empty bins
        warnings.filterwarnings("ignore", category=UserWarning, module=r"sklearn")  # classes without a prediction
        yield


def _page(text: str) -> bytes:
    return f"<!doctype html><meta charset=utf-8><title>Report</title><p>{html.escape(text)}</p>".encode()
