"""Evidently draws every window that it is given, odd ones too, and its headlines are plain values."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    assert report.summary["left out"] == {"classification": "Evidently failed: KeyError: '<odd>'"}
    assert b"&lt;odd&gt;" in report.html


def test_labels_that_evidently_cannot_compare_leave_the_rest_of_the_report() -> None:
    before, now = rows(40, seed=0), rows(40, seed=1)
    before["late"] = np.where(np.arange(40) < 20, "yes", "no")
    before["prediction"] = now["prediction"] = np.where(np.arange(40) < 20, "yes", "unheard of")
    report = render(before, now, TWO, labelled=True)
    assert "error" not in report.summary
    assert set(report.summary["left out"]) <= {"classification"}
    assert len(report.html) > 1_000_000


def test_the_sample_is_bounded_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def keep(reference: pd.DataFrame, current: pd.DataFrame, *_: object) -> tuple[None, bytes, dict[str, object]]:
        drawn.append((reference, current))
        return None, b"", {}

    monkeypatch.setattr("mlops.adapters.evidently_report._run", keep)
    for seed in (0, 0, 1):
        render(rows(500, seed=0), rows(80, seed=1), TWO, labelled=True, max_rows=100, seed=seed)
    assert [(len(before), len(now)) for before, now in drawn] == [(100, 80)] * 3
    pd.testing.assert_frame_equal(drawn[0][0], drawn[1][0])
    assert not drawn[0][0].equals(drawn[2][0])


NAMES = ("weight", "Gewicht/kg ✈", "", "a b\"c'<i>", "prediction ", "0")
CLASSES = ("no", "yes", "viel\u00adleicht")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.one_of(
        st.floats(-1e300, 1e300), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e-300, 5e-324]), st.none()
    ),
    "category": st.one_of(st.text(max_size=5), st.none(), st.sampled_from(["a", "b", "", "nan", "None", "<script>"])),
}


@st.composite
def odd_frames(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame, Schema]:
    """A reference and a window as no schema promises them: absent, empty, constant and wild columns, few rows."""
    kinds = draw(st.lists(st.sampled_from(["number", "category"]), min_size=1, max_size=4))
    names = draw(st.permutations(NAMES))[: len(kinds)]
    columns = tuple(Column(name, kind, nullable=True) for name, kind in zip(names, kinds, strict=True))  # type: ignore[arg-type]
    schema = Schema(columns=columns, target=Target("late", CLASSES[: draw(st.integers(2, 3))]))
    return draw(_frame(schema)), draw(_frame(schema)), schema


@st.composite
def _frame(draw: st.DrawFn, schema: Schema) -> pd.DataFrame:
    count = draw(st.sampled_from([60, 30, 3, 2, 1, 0]))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    data: dict[str, Any] = {}
    for column in schema.columns:
        shape = draw(st.sampled_from(["wild", "wild", "tame", "constant", "missing", "absent"]))
        few = draw(st.lists(VALUES[column.type], min_size=2, max_size=5))
        if shape == "tame":
            values = random.normal(size=count) if column.type == "number" else random.choice(list("abc"), count)
            data[column.name] = values.tolist()
        elif shape != "absent":
            pool = {"wild": few, "constant": few[:1], "missing": [None]}[shape]
            data[column.name] = [pool[at] for at in random.integers(0, len(pool), count)]
    frame = pd.DataFrame(data, index=range(count), dtype=object)
    for name in ("prediction", "late"):
        shown = draw(st.lists(st.sampled_from([*schema.target.classes, None, "unheard of"]), min_size=1, max_size=6))
        frame[name] = pd.Series([shown[at] for at in random.integers(0, len(shown), count)], dtype=object)
    return frame


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(drawn=odd_frames(), labelled=st.booleans())
def test_no_input_crashes_the_report(drawn: tuple[pd.DataFrame, pd.DataFrame, Schema], labelled: bool) -> None:
    reference, current, schema = drawn
    report = render(reference, current, schema, labelled, max_rows=40)
    assert report.html
    assert "error" not in report.summary
    assert report.summary["window rows"] <= 40
    json.dumps(report.summary, allow_nan=False)
