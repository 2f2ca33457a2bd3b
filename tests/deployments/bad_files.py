"""Files that no one should read, each with what the commands say of it."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 600


def table(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    """Two numbers, a category, a time and a label that follows one number."""
    random = np.random.default_rng(seed)
    a = random.normal(size=rows).round(3)
    return pd.DataFrame(
        {
            "a": a,
            "b": random.normal(50, 5, rows).round(2),
            "town": random.choice(["Ulm", "Bonn"], rows),
            "at": pd.date_range("2026-01-01", periods=rows, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "y": np.where(a + 0.3 * random.normal(size=rows) > 0, "yes", "no"),
        }
    )


def csv(frame: pd.DataFrame, **options: object) -> bytes:
    return frame.to_csv(index=False, **options).encode()  # type: ignore[call-overload,no-any-return]


def edited(column: str, row: int, value: str) -> bytes:
    frame = table(1).astype(str)
    frame.loc[row - 1, column] = value
    return csv(frame)


def ragged() -> bytes:
    lines = csv(table(1)).decode().splitlines()
    lines[7] += ",more"
    return "\n".join(lines).encode()


def truncated(folder: Path) -> bytes:
    table(1).to_parquet(folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()[:-200]


def parquet(names: list[str], columns: list[object], folder: Path) -> bytes:
    pq.write_table(pa.table(columns, names=names), folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()


def nested(folder: Path) -> bytes:
    frame = table(1)
    return parquet(["a", "b", "y"], [frame["a"], [[1.0]] * ROWS, frame["y"]], folder)


def doubled(folder: Path) -> bytes:
    frame = table(1)
    return parquet(["a", "a", "y"], [frame["a"], frame["b"], frame["y"]], folder)


def decimals(thousands: bool) -> bytes:
    values = table(1)["b"]
    texts = [f"1,{value * 10:06.2f}" if thousands else f"{value:.2f}".replace(".", ",") for value in values]
    return csv(table(1).assign(b=texts))


def shuffled() -> bytes:
    return csv(table(1).sample(frac=1, random_state=0))


def zones() -> bytes:
    frame = table(1)
    frame.loc[5, "at"] = "2026-01-01T05:00:00"
    return csv(frame)


Case = Callable[[Path], bytes]


CASES: dict[str, tuple[Case, str, str | None]] = {
    # name: the bytes, what `replay` says, what `drift` says of them as CURRENT (none: the same)
    "empty": (lambda _: b"", "the file is empty", None),
    "blank": (lambda _: b"\n\n", "the file is empty", None),
    "header only": (lambda _: b"a,b,town,at,y\n", "a header and no rows", None),
    "wrong delimiter": (lambda _: csv(table(1), sep=";"), "4 times a semicolon", None),
    "tabs": (lambda _: csv(table(1), sep="\t"), "4 times a tab", None),
    "latin-1": (lambda _: edited("town", 3, "Köln").replace("ö".encode(), b"\xf6"), "byte 0xf6 in line 4", None),
    "UTF-16": (lambda _: csv(table(1)).decode().encode("utf-16"), "not UTF-8", None),
    "ragged": (lambda _: ragged(), "row 7 has 6 fields, the header 5", None),
    "open quote": (lambda _: edited("town", 3, "Ulm").replace(b"Ulm", b'"Ulm', 1), "a quote", None),
    "duplicated column": (lambda _: csv(table(1)).replace(b"a,b,town", b"a,a,town"), "columns named twice: a", None),
    "absent column": (lambda _: csv(table(1).drop(columns="y")), "there is no column 'y'", None),
    "absent time": (lambda _: csv(table(1).drop(columns="at")), "there is no column 'at'", "Column at: it is absent"),
    "decimal commas": (lambda _: decimals(False), "row 1, column 'b': '", "has a decimal comma"),
    "thousands": (lambda _: decimals(True), "row 1, column 'b': '", "has thousands separators"),
    "text in numbers": (lambda _: edited("b", 9, "fifty"), "row 9, column 'b': 'fifty' is not a number", None),
    "infinity": (lambda _: edited("a", 4, "-inf"), "row 4, column 'a': '-inf' is infinite", None),
    "one class": (lambda _: csv(table(1).assign(y="yes")), "only one class, 'yes'", ""),
    "no label": (lambda _: csv(table(1).assign(y="")), "column 'y' has no value", ""),
    "too many classes": (lambda _: csv(table(1).assign(y=range(ROWS))), "600 different values", "is none of the"),
    "short rows": (lambda _: csv(table(1)).replace(b"Z,yes", b"Z", 2), "row 1 has 4 fields, the header 5 (2", None),
    "title above": (lambda _: b"Sales of 2026\n" + csv(table(1)), "remove what stands above the line", None),
    "NUL": (lambda _: csv(table(1)).replace(b"Ulm", b"U\0m", 1), "holds a NUL byte", None),
    "stray quote": (lambda _: csv(table(1)).replace(b"Ulm", b'U"lm', 2), "has a stray quote", None),
    "two open quotes": (lambda _: csv(table(1)).replace(b"Ulm", b'"Ulm', 2), "has a stray quote", None),
    "gzip": (lambda _: gzip.compress(csv(table(1))), "compressed with gzip: unpack it first", None),
    "workbook": (lambda _: b"PK\x03\x04" + bytes(99), "an Excel workbook", None),
    "JSON": (lambda _: table(1).to_json(orient="records").encode(), "no CSV file but JSON", None),
    "web page": (lambda _: b"<!DOCTYPE html><title>Sign in</title>", "a web page or XML", None),
    "huge value": (lambda _: edited("town", 3, "x" * 3_000_000), "line 4 is too long (3,000,0", None),
    "reserved name": (lambda _: csv(table(1).assign(_row=1)), "column '_row' has a reserved name", ""),
    "truncated Parquet": (truncated, "not a Parquet file", None),
    "nested Parquet": (nested, "column 'b' has type list", None),
    "duplicated in Parquet": (doubled, "columns named twice: a", None),
    "out of order": (lambda _: shuffled(), "is earlier than", "times are out of order"),
    "mixed zones": (lambda _: zones(), "mixes times with and without a zone (row 1", "row 6 has '2026-01"),
    "no time": (lambda _: edited("at", 12, "yesterday"), "row 12: at 'yesterday' is not a time", "row 12 has 'yesterd"),
    "times missing": (lambda _: edited("at", 12, ""), "row 12: at '' must not be missing", "row 12 has no time"),
}  # fmt: skip
