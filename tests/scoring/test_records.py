"""One pass through a body accepts what the checker accepts, and nothing else."""

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.core.schema import Column, Schema, Target
from mlops.scoring.errors import Refused
from mlops.scoring.records import Read, Reader
from mlops.scoring.validation import MAX_NUMBER, decode
from tests.scoring.conftest import IRIS, MIXED

EDGES = Schema(
    (
        Column("a", "integer"),
        Column("b", "integer", min=-1.5, max=2.5, nullable=True),
        Column("c", "number", max=1e300),
        Column("d e", "category"),
        Column("f", "category", values=("", "x"), nullable=True),
    ),
    Target("y", ("0", "1")),
)
FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
numbers = st.one_of(
    st.integers(-3, 9999),
    st.floats(0.1, 30),
    st.sampled_from([0.0, -0.0, 1.0, 2.5, 3.0, 1e22, 10**22, 2**53 + 1, 1e301, MAX_NUMBER, -1.5, -1, 5e-324]),
    st.floats(allow_nan=True),
)
texts = st.one_of(
    st.sampled_from(["", "x", "JFK", "EWR", "UA", "é", "x" * 256, "x" * 257, "漢" * 256]), st.text(max_size=3)
)
times = st.sampled_from(
    ["2013-02-20T12:00:00Z", "2013-02-20T12:00:00+05:30", "2013-02-20", "0001-01-01T00:00:00+14:00", "soon"]
)
values = st.one_of(numbers, texts, times, st.none(), st.booleans(), st.just([]), st.just({}))


def records(schema: Schema) -> st.SearchStrategy[Any]:
    """Mostly right records, and others."""
    likely = {"number": numbers, "integer": numbers, "category": texts, "time": times}
    fields = {column.name: st.one_of(likely[column.type], values) for column in schema.columns}
    some = {name: field for name, field in fields.items() if name != schema.columns[0].name}
    right = st.fixed_dictionaries({schema.columns[0].name: fields[schema.columns[0].name]}, optional=some)
    return st.one_of(right, st.fixed_dictionaries(fields), right.map(lambda record: record | {"unknown": 1}), values)


def outcome(read: Any) -> tuple[list[list[object]], bool] | tuple[int, str]:
    try:
        rows, batch = read()
    except Refused as refused:
        return refused.status, str(refused)
    return [list(row) for row in rows], batch


@pytest.mark.parametrize("schema", [IRIS, MIXED, EDGES], ids=["iris", "mixed", "edges"])
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_one_pass_finds_what_the_checker_finds(schema: Schema, data: st.DataObject) -> None:
    reader = Reader(schema)
    payload = data.draw(st.one_of(records(schema), st.lists(records(schema), max_size=4)))
    try:
        body = json.dumps(payload).encode()
    except UnicodeEncodeError:
        return
    assert outcome(lambda: reader.read(body, 3)) == outcome(lambda: reader.check(decode(body), 3))


@pytest.mark.parametrize("schema", [IRIS, MIXED], ids=["iris", "mixed"])
def test_right_records_never_reach_the_checker(schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(schema)
    monkeypatch.setattr(reader, "check", lambda *_: pytest.fail("the checker was asked"))
    flight = {"departure": "2013-02-20T13:00:00+01:00", "origin": "JFK", "carrier": None, "distance": 9, "seats": 3}
    record = FLOWER if schema is IRIS else flight
    assert not reader.read(json.dumps(record).encode(), 1).batch
    rows, batch = reader.read(json.dumps([record, record]).encode(), 2)
    assert (len(rows), batch) == (2, True)
    assert isinstance(rows, np.ndarray) == (schema is IRIS)
    if schema is MIXED:
        assert rows[0] == [datetime(2013, 2, 20, 12, tzinfo=UTC), None, "JFK", None, 9.0, 3]


def test_space_before_the_body_is_no_fault() -> None:
    body = b"\r\n\t " + json.dumps(FLOWER).encode()
    assert Reader(IRIS).read(body, 1) == Read([[6.6, 3.0, 4.4, 1.4]], batch=False)


def test_a_name_that_no_field_can_have_is_left_to_the_checker() -> None:
    schema = Schema((Column('"', "number"),), Target("y", ("0", "1")))
    assert Reader(schema).read(b'{"\\"": 1}', 1) == Read([[1.0]], batch=False)
