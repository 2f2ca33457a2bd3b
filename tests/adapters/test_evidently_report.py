"""Evidently draws every window that it is given, odd ones too, and its headlines are plain values."""

import json

import numpy as np
import pandas as pd
import pytest

from mlops.adapters.evidently_report import render
from mlops.core.schema import Column, Schema, Target

COLUMNS = (
    Column("sent", "time"),
    Column("weight", "number", nullable=True),
    Column("wind", "number"),
    Column("town", "category", nullable=True),
)
TWO = Schema(columns=COLUMNS, target=Target("late", ("no", "yes")))
THREE = Schema(columns=COLUMNS, target=Target("late", ("no", "maybe", "yes")))


def rows(count: int, seed: int, schema: Schema = TWO) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    late = random.choice(schema.target.classes, count)
    return pd.DataFrame(
        {
            "sent": pd.Timestamp("2013-01-01", tz="UTC"),
            "weight": np.where(random.random(count) < 0.1, np.nan, random.normal(size=count)),
            "wind": random.normal(size=count),
            "town": random.choice(["Ulm", "Bonn", "Jena"], count),
            "late": late,
            "prediction": np.where(random.random(count) < 0.8, late, schema.target.classes[0]),
        }
    )


@pytest.mark.parametrize("schema", [TWO, THREE])
def test_a_labelled_window_is_drawn_with_its_classification(schema: Schema) -> None:
    current = rows(300, seed=1, schema=schema)
    current["wind"] += 3
    report = render(rows(300, seed=0, schema=schema), current, schema, labelled=True)
    assert report.html.startswith(b"<")
    assert len(report.html) > 1_000_000
    assert report.summary["drifted columns"] == ["wind"]
    right = (current["late"] == current["prediction"]).mean()
    assert report.summary["accuracy"] == pytest.approx(right)
    assert type(report.summary["accuracy"]) is float
    json.dumps(report.summary, allow_nan=False)


def test_an_unlabelled_window_is_drawn_without() -> None:
    report = render(rows(200, seed=0), rows(200, seed=1).drop(columns="late"), TWO, labelled=True)
    assert "accuracy" not in report.summary
    assert "error" not in report.summary


def test_columns_that_cannot_be_drawn_are_left_out_by_name() -> None:
    current = rows(200, seed=1).assign(weight=np.inf, town=None, prediction="no")
    report = render(rows(200, seed=0), current.drop(columns="wind"), TWO, labelled=True)
    assert report.summary["left out"] == {
        "weight": "all missing in the window",
        "wind": "absent from the window",
        "town": "all missing in the window",
        "prediction": "constant in the window",
    }
    assert "error" not in report.summary
    assert len(report.html) > 1_000_000


def test_infinities_among_numbers_are_missing_values() -> None:
    current = rows(200, seed=1)
    current.loc[:20, "weight"] = np.inf
    report = render(rows(200, seed=0), current, TWO, labelled=True)
    assert "error" not in report.summary


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_few_rows_or_none_do_not_raise(count: int) -> None:
    report = render(rows(200, seed=0), rows(count, seed=1), TWO, labelled=True)
    assert report.html
    assert report.summary["window rows"] == count


def test_a_failure_of_evidently_is_a_page_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("<odd>")

    monkeypatch.setattr("mlops.adapters.evidently_report._run", fail)
    report = render(rows(50, seed=0), rows(50, seed=1), TWO, labelled=True)
    assert report.summary["error"] == "KeyError: '<odd>'"
    assert b"&lt;odd&gt;" in report.html


def test_the_sample_is_bounded_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def keep(reference: pd.DataFrame, current: pd.DataFrame, *_: object) -> tuple[bytes, dict[str, object]]:
        drawn.append((reference, current))
        return b"", {}

    monkeypatch.setattr("mlops.adapters.evidently_report._run", keep)
    for seed in (0, 0, 1):
        render(rows(500, seed=0), rows(80, seed=1), TWO, labelled=True, max_rows=100, seed=seed)
    assert [(len(before), len(now)) for before, now in drawn] == [(100, 80)] * 3
    pd.testing.assert_frame_equal(drawn[0][0], drawn[1][0])
    assert not drawn[0][0].equals(drawn[2][0])
