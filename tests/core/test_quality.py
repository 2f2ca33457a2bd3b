"""Files are read whole or refused with a reason; rows are good and typed, or bad with every reason."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas import DataFrame, Series, Timestamp

from mlops.core.quality import FileError, check, read_csv, read_parquet
from mlops.core.schema import Column, Schema, Target
from mlops.spec import ModelSpec

SCHEMA = Schema(
    (
        Column("when", "time"),
        Column("length", "number", min=0, max=10),
        Column("count", "integer", nullable=True),
        Column("kind", "category", values=("a", "b")),
    ),
    Target("label", ("0", "1")),
)
GOOD = {"when": "2026-01-01T00:00:00Z", "length": "1.5", "count": "3", "kind": "a", "label": "1"}


def text(*rows: dict[str, str]) -> DataFrame:
    """Return a text frame of good rows with some fields replaced."""
    return DataFrame([GOOD | row for row in rows], dtype="str")


def reason(**fields: str) -> str:
    """Return why one row is bad, or an empty string."""
    bad = check(text(fields), SCHEMA, "f").bad
    return "" if bad.empty else str(bad["_reason"][0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \n\n", "empty"),
        (b"a,b\n", "no rows"),
        (b"a,b\n1,2\n3,\xff\n", "not UTF-8: byte 0xff in line 3"),
        ("a,b\n1,2\n".encode("utf-16"), "not UTF-8"),
        (b"a,b,a\n1,2,3\n", "named twice: a"),
        (b"a,b\n1,2\n3,4,5\n", "row 2 has 3 fields, the header 2"),
        (b"a,b\n1,2\n3\n4\n", r"row 2 has 1 fields, the header 2 \(2 such rows\)"),
        (b'a,b\n1,"2\n3,4\n5,6\n', "never closed"),
    ],
)
def test_unusable_csv_files_are_refused_with_their_name(data: bytes, message: str) -> None:
    with pytest.raises(FileError, match=message) as caught:
        read_csv(data, "landing/x.csv")
    assert str(caught.value).startswith("landing/x.csv: ")


def test_csv_is_read_as_text() -> None:
    frame = read_csv(b'\xef\xbb\xbfa,b,c\r\n01,"x, ""y""\r\nz",\r\nNA,null,1e5\r\n', "f")
    assert frame.to_dict("list") == {"a": ["01", "NA"], "b": ['x, "y"\r\nz', "null"], "c": ["", "1e5"]}


def test_parquet_is_read_as_the_same_text() -> None:
    frame = DataFrame(
        {
            "when": [Timestamp("2026-01-01 12:00", tz="UTC"), None],
            "n": [0.1, np.nan],
            "i": [1, 2],
            "s": ["nan", None],
            "f": np.array([np.inf, 0.1], dtype="float32"),
        }
    )
    read = read_parquet(frame.to_parquet(), "f")
    assert read[["n", "i", "s", "f"]].to_dict("list") == {
        "n": ["0.1", ""], "i": ["1", "2"], "s": ["nan", ""], "f": ["inf", "0.1"],
    }  # fmt: skip
    times = Schema((Column("when", "time", nullable=True),), Target("y", ("0", "1")))
    assert check(read[["when"]], times, "f", labelled=False).good["when"][0] == Timestamp("2026-01-01 12:00", tz="UTC")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b\n1,2\n", "not a Parquet file"),
        (DataFrame({"a": []}).to_parquet(), "no rows"),
        (DataFrame({"a": [[1, 2]]}).to_parquet(), "column 'a' has type list"),
    ],
)
def test_unusable_parquet_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        read_parquet(data, "x.parquet")


def test_absent_and_unknown_columns_are_listed_together() -> None:
    raw = text({}).drop(columns=["kind", "label"]).assign(kin="a", extra="1")
    with pytest.raises(FileError, match=r"absent columns: kind, label; unknown columns: 'kin', 'extra'"):
        check(raw, SCHEMA, "f")


def test_wrong_delimiter_is_recognised() -> None:
    with pytest.raises(FileError, match="no comma, but 2 times a semicolon: is that the delimiter"):
        read_csv(b"when;length;label\n1;2;3\n", "f")
    with pytest.raises(FileError, match=r"only one column, 'when length label'.*comma"):
        check(read_csv(b"when length label\n1 2 3\n", "f"), SCHEMA, "f")


def test_target_is_unknown_in_unlabelled_files() -> None:
    with pytest.raises(FileError, match="unknown columns: 'label'"):
        check(text({}), SCHEMA, "f", labelled=False)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("length", "abc", "length 'abc' is not a number"),
        ("length", "nan", "length 'nan' is not a number"),
        ("length", "1_0", "length '1_0' is not a number"),
        ("length", "1,5", "length '1,5' is not a number"),
        ("length", "-inf", "length '-inf' is infinite"),
        ("length", "1e39", "length '1e39' is infinite"),
        ("length", "1e999", "length '1e999' is infinite"),
        ("length", "-0.1", "length '-0.1' is below the minimum 0"),
        ("length", "10.5", "length '10.5' is above the maximum 10"),
        ("length", "", "length '' must not be missing"),
        ("count", "2.5", "count '2.5' is not a whole number"),
        ("kind", "c", "kind 'c' is none of a, b"),
        ("kind", " ", "kind '' must not be missing"),
        ("when", "yesterday", "when 'yesterday' is not a time"),
        ("when", "2026-02-30", "when '2026-02-30' is not a time"),
        ("when", "20260101", "when '20260101' is not a time"),
        ("label", "", "label '' is none of the classes 0, 1"),
        ("label", "2", "label '2' is none of the classes 0, 1"),
        ("label", "0.5", "label '0.5' is none of the classes 0, 1"),
    ],
)
def test_each_rule_names_field_value_and_itself(field: str, value: str, rule: str) -> None:
    found = reason(**{field: value})
    assert found.startswith(rule)
    assert ";" not in found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("length", "0"),
        ("length", "10"),
        ("length", " +1.e0 "),
        ("count", ""),
        ("count", "1e2"),
        ("label", "1.0"),
        ("when", "2026-01-01"),
        ("when", "2026-01-01 02:00:00.5+02:00"),
    ],
)
def test_values_at_the_edge_are_good(field: str, value: str) -> None:
    assert reason(**{field: value}) == ""


def test_all_wrong_fields_are_listed() -> None:
    assert reason(length="-1", kind="z", label="9").split("; ") == [
        "length '-1' is below the minimum 0",
        "kind 'z' is none of a, b",
        "label '9' is none of the classes 0, 1",
    ]


def test_long_values_are_cut_in_the_reason_only() -> None:
    bad = check(text({"kind": "x" * 5000}), SCHEMA, "f").bad
    assert len(bad["_reason"][0]) < 150
    assert bad["kind"][0] == "x" * 5000


def test_good_rows_are_typed_and_bad_rows_keep_their_text() -> None:
    raw = text({}, {"length": " bad"}, {"when": "2026-01-01 02:00+02:00", "count": "", "label": "0.0"})
    order = ["label", "count", "kind", "when", "length"]
    good, bad = check(raw[order], SCHEMA, "f")
    assert list(good) == ["when", "length", "count", "kind", "label"]
    assert [str(good[c].dtype) for c in ("when", "length", "count")] == ["datetime64[us, UTC]", "float64", "float64"]
    assert good["when"].tolist() == [Timestamp("2026-01-01", tz="UTC")] * 2
    assert good["count"].isna().tolist() == [False, True]
    assert good["label"].tolist() == ["1", "0"]
    assert list(bad) == [*order, "_row", "_reason"]
    assert bad["_row"].tolist() == [2]
    assert bad["length"].tolist() == [" bad"]


def test_missing_categories_are_null() -> None:
    schema = Schema((Column("kind", "category", nullable=True),), Target("y", ("no", "yes")))
    good = check(DataFrame({"kind": ["", "a"], "y": ["no", "yes"]}), schema, "f").good
    assert good["kind"].isna().tolist() == [True, False]


def test_repeats_of_a_good_row_are_bad_and_name_it(mixed_spec: ModelSpec) -> None:
    row = {"sent": "2026-01-01", "weight": "1", "carrier": "", "parcel": "7", "zone": "1", "size": "S", "late": "no"}
    rows = [
        row | {"zone": "99"},
        row,
        row | {"parcel": "8"},
        row | {"sent": "2026-01-01T00:00:00Z"},
        row | {"size": "?"},
    ]
    good, bad = check(DataFrame(rows, dtype="str"), mixed_spec.data, "f")
    assert good["parcel"].tolist() == [7, 8]
    # The first row is bad, so the second does not repeat it; the fourth is the same instant.
    assert bad["_row"].tolist() == [1, 4, 5]
    assert bad["_reason"][1] == "repeats row 2 (sent, parcel must be unique)"


def test_a_file_of_bad_rows_gives_no_good_ones() -> None:
    good, bad = check(text({"length": "x"}, {"length": "y"}), SCHEMA, "f")
    assert good.empty
    assert list(good) == ["when", "length", "count", "kind", "label"]
    assert len(bad) == 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=64, allow_nan=False, min_value=-1e38, max_value=1e38), min_size=1, max_size=30))
def test_numbers_keep_their_exact_value(values: list[float]) -> None:
    schema = Schema((Column("x", "number"),), Target("y", ("0", "1")))
    raw = DataFrame({"x": Series([repr(v) for v in values], dtype="str"), "y": "0"})
    assert check(raw, schema, "f").good["x"].tolist() == values


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=8), st.sampled_from([c.name for c in SCHEMA.columns]))
def test_no_row_is_lost_whatever_its_text(values: list[str], field: str) -> None:
    raw = text(*({field: value} for value in values))
    good, bad = check(raw, SCHEMA, "f")
    assert len(good) + len(bad) == len(values)
    assert (bad["_reason"] != "").all()


def test_what_pandas_writes_comes_back(iris_frame: DataFrame, iris_spec: ModelSpec) -> None:
    written = io.BytesIO()
    iris_frame.to_csv(written, index=False)
    good, bad = check(read_csv(written.getvalue(), "iris.csv"), iris_spec.data, "iris.csv")
    assert bad.empty
    assert good.equals(iris_frame)
