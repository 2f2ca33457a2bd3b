"""A table becomes a past: inferred types, order by time, by numbers or by row, labels that are missing."""

import numpy as np
import pandas as pd
import pytest

from mlops.core.inference import infer
from mlops.core.past import ORDER, Asked, prepare
from mlops.core.quality import FileError


def raw(rows: int = 400, **more: object) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=rows).round(3), "y": random.choice(["a", "b"], rows)})
    return frame.assign(**more).astype(str)


def test_columns_are_typed_or_left_out_with_a_reason() -> None:
    rows = 400
    table = raw(
        rows,
        number=range(10, 10 + rows),
        empty="",
        gaps=["NA" if row % 3 else "1.5" for row in range(rows)],
        town=["Ulm", "NA"] * (rows // 2),
        free=[f"text {row}" for row in range(rows)],
        day="2026-01-01",
    )
    found = infer(table, "table.csv", "y")
    kinds = {column.name: column.type for column in found.schema.features}
    assert kinds == {"x": "number", "gaps": "number", "town": "category"}
    assert found.schema.target.classes == ("a", "b")
    told = " ".join(found.notes)
    for name in ("number counts the rows", "empty is empty", "free has 400 different texts", "day holds times"):
        assert f"Column {name}" in told


@pytest.mark.parametrize(
    ("values", "classes"),
    [(["1", "0"], ("0", "1")), (["10", "9", "1.0"], ("1.0", "9", "10")), (["no", "1"], ("1", "no"))],
)
def test_classes_are_in_the_order_of_numbers_or_of_the_alphabet(values: list[str], classes: tuple[str, ...]) -> None:
    table = raw(60, y=[values[row % len(values)] for row in range(60)])
    assert infer(table, "table.csv", "y").schema.target.classes == classes


def test_without_a_time_the_order_of_the_file_counts_and_the_window_slides_over_rows() -> None:
    past = prepare(raw(), "table.csv", Asked(target="y", window=50, train=100))
    assert past.spec.data.time == ORDER
    assert past.spec.training.window_days == 100
    assert past.stream.frame[ORDER].is_monotonic_increasing
    assert [window.rows for window in past.stream.judged] == [50] * 6


def test_a_column_of_numbers_orders_rows_and_is_no_feature() -> None:
    past = prepare(raw(step=[row // 7 for row in range(400)]), "table.csv", Asked(target="y", time="step", window=50))
    assert "step" not in [column.name for column in past.spec.data.features]


def test_rows_out_of_order_are_refused_or_sorted() -> None:
    table = raw(at=pd.date_range("2026-01-01", periods=400, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%S+00:00"))
    mixed = table.sample(frac=1, random_state=1).reset_index(drop=True)
    with pytest.raises(FileError, match="sort the file, or pass --sort"):
        prepare(mixed, "table.csv", Asked(target="y", time="at", window=50))
    past = prepare(mixed, "table.csv", Asked(target="y", time="at", window=50, sort=True))
    assert past.stream.frame["x"].tolist() == table["x"].astype(float).tolist()


def test_offsets_that_differ_are_one_moment() -> None:
    table = raw(at=[f"2026-01-{1 + row // 24:02}T{row % 24:02}:00:00+0{row % 2}:00" for row in range(400)])
    table["at"] = table["at"].str.replace("+01:00", "+00:00").where(table.index % 5 > 0, table["at"])
    with pytest.raises(FileError, match="is earlier than"):
        prepare(table.iloc[::-1].reset_index(drop=True), "table.csv", Asked(target="y", time="at", window=50))
    past = prepare(table, "table.csv", Asked(target="y", time="at", window=50, sort=True))
    assert len(past.stream.frame) == 400


def test_rows_without_a_label_are_left_out_and_told() -> None:
    table = raw()
    table.loc[5:14, "y"] = ""
    past = prepare(table, "table.csv", Asked(target="y", window=50))
    assert len(past.stream.frame) == 390
    assert past.stream.frame.index.tolist() == list(range(390))
    table["step"] = [str(row if row != 20 else 3) for row in range(400)]
    with pytest.raises(FileError, match="row 21, column 'step'"):
        prepare(table, "table.csv", Asked(target="y", window=50, time="step"))
    assert past.notes == ("10 rows without a label are left out.",)
