"""`mlops drift` on files as other programs write them, and on a few rows alone."""

from pathlib import Path
from typing import Any

import pytest

from deployments.cli import main
from tests.deployments.bad_files import csv, table


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    (tmp_path / "reference.csv").write_bytes(csv(table()))
    return tmp_path / "reference.csv"


@pytest.mark.parametrize(
    ("before", "now", "note"),
    [
        ({"b": lambda f: f["a"] > 0}, {"b": lambda f: (f["a"] > 0).astype(str).str.lower()}, ""),
        ({"b": lambda f: (f["a"] > 0).astype(str).str.upper()}, {"b": lambda f: f["a"] > 0}, ""),
        ({"at": lambda f: "03/04/" + (f.index % 90 + 1920).astype(str)}, {}, "Column at holds times: left out."),
        ({"at": lambda f: (f.index % 28 + 1).astype(str) + "-Mar-2024"}, {}, "Column at holds times: left out."),
        ({"b": lambda f: f.index * 7}, {"b": lambda f: 9_000 + f.index * 3}, "Column b only rises from row to row"),
        ({"b": lambda f: 9_000 - f.index * 7}, {"b": lambda f: -f.index}, "Column b only falls from row to row"),
    ],
)
def test_unchanged_files_are_ok_however_programs_write_booleans_dates_and_keys(
    before: dict[str, Any], now: dict[str, Any], note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = {"at": before["at"]} if "at" in before else now
    (tmp_path / "before.csv").write_bytes(csv(table().assign(**before)))
    (tmp_path / "now.csv").write_bytes(csv(table(1).assign(**later)))
    assert main(["drift", str(tmp_path / "before.csv"), str(tmp_path / "now.csv")]) == 0
    assert note in capsys.readouterr().err


def test_a_boolean_is_one_in_parquet_too(tmp_path: Path) -> None:
    (tmp_path / "before.csv").write_bytes(csv(table().assign(b=lambda frame: frame["a"] > 0)))
    table(1).assign(b=lambda frame: frame["a"] > 0).to_parquet(tmp_path / "now.parquet")
    assert main(["drift", str(tmp_path / "before.csv"), str(tmp_path / "now.parquet")]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="b"), "Column b: it is absent"),
        (lambda frame: frame.assign(b=""), "Column b: it is empty"),
    ],
)
def test_few_rows_hide_no_column_that_is_gone(
    change: Any, said: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "now.csv").write_bytes(csv(change(table(1).head(40))))
    assert main(["drift", str(reference), str(tmp_path / "now.csv")]) == 3
    told = capsys.readouterr().out
    assert told.startswith("DATA INCIDENT")
    assert told.count("Column b:") == 1
    assert said in told
