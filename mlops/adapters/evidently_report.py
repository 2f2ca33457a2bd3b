"""Evidently's report on a window beside its reference: a page to look at, never a verdict."""

import html
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from mlops.core.schema import Schema

PREDICTION = "prediction"


class EvidentlyReport(msgspec.Struct, frozen=True):
    """A page of a few MB that opens offline, and its headlines as plain JSON values."""

    html: bytes
    summary: dict[str, Any]


def render(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    schema: Schema,
    labelled: bool,
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
        max_rows: most rows drawn from either frame, at random.
        seed: of that sample.
    """
    target = schema.target.name
    labelled = labelled and target in reference and target in current
    if labelled:
        reference, current = (frame[frame[target].isin(schema.target.classes)] for frame in (reference, current))
    before, now = (_sample(_typed(frame, schema), max_rows, seed) for frame in (reference, current))
    wanted = [*(column.name for column in schema.features), PREDICTION, *([target] if labelled else [])]
    names, left_out = _drawable(before, now, wanted)
    summary: dict[str, Any] = {"reference rows": len(before), "window rows": len(now), "left out": left_out}
    if not names:
        return EvidentlyReport(_page("No column can be drawn."), summary)
    labelled = labelled and {PREDICTION, target} <= set(names)
    try:
        page, headlines = _run(before[names], now[names], schema, labelled)
    except Exception as error:  # noqa: BLE001 - Evidently raises anything on rows that it cannot draw, and a report decides nothing.
        return EvidentlyReport(
            _page(f"Evidently failed: {error}"), summary | {"error": f"{type(error).__name__}: {error}"}
        )
    return EvidentlyReport(page, summary | headlines)


def _typed(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Give every column the one type that Evidently reads: float64 without infinities, or text."""
    numbers = set(schema.numbers)
    return pd.DataFrame(
        {
            name: pd.to_numeric(frame[name], errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)
            if name in numbers
            else frame[name].astype(object).where(frame[name].notna(), None)
            for name in [*(c.name for c in schema.features), PREDICTION, schema.target.name]
            if name in frame
        }
    ).reset_index(drop=True)


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
    reference: pd.DataFrame, current: pd.DataFrame, schema: Schema, labelled: bool
) -> tuple[bytes, dict[str, Any]]:
    with _quiet():
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
        result = Report(presets, include_tests=True).run(*datasets)
        return result.get_html_str(as_iframe=False).strip().encode(), _headlines(result.dict(), labelled)


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
def _quiet() -> Iterator[None]:
    """Silence what Evidently and the libraries it calls warn about themselves; ours stay errors in tests."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # numpy.core, litestar, pandas 4
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"scipy|numpy|evidently")  # empty bins
        warnings.filterwarnings("ignore", category=UserWarning, module=r"sklearn")  # classes without a prediction
        yield


def _page(text: str) -> bytes:
    return f"<!doctype html><meta charset=utf-8><title>Report</title><p>{html.escape(text)}</p>".encode()
