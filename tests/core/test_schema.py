"""The schema refuses contradictions, and describes scoring records as JSON Schema."""

from typing import Any

import pytest

from mlops.core.schema import Column, Schema, Target, json_schema
from mlops.spec import ModelSpec

TARGET = Target("y", ("0", "1"))
A, B = Column("a", "number"), Column("b", "category")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": (A, B, A)}, "declared twice: a"),
        ({"columns": (A, Column("y", "number"))}, "target 'y' is declared as an input"),
        ({"columns": (A,), "target": Target("y", ("1",))}, "two or more different classes"),
        ({"columns": (A,), "target": Target("y", ("1", "1"))}, "two or more different classes"),
        ({"columns": (A,), "unique": ("a", "c")}, "unique names no declared column: c"),
        ({"columns": (Column("s", "time"), Column("t", "time"))}, "more than one time column: s, t"),
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schema(**{"target": TARGET, **fields})


def test_features_leave_out_keys_and_times(mixed_spec: ModelSpec) -> None:
    schema = mixed_spec.data
    assert [c.name for c in schema.features] == ["weight", "carrier", "zone", "size"]
    assert schema.numbers == ("weight", "zone")
    assert schema.categories == ("carrier", "size")
    assert schema.time == "sent"
    assert Schema((A,), TARGET).time is None


def test_output_key_is_the_target_in_lower_case(iris_spec: ModelSpec) -> None:
    assert iris_spec.data.output == "predicted_species"


def test_json_schema_of_a_record(mixed_spec: ModelSpec) -> None:
    described = json_schema(mixed_spec.data)
    # `parcel` is a key that the model does not see, so a request may leave it out.
    assert described["required"] == ["sent", "zone", "size"]
    assert described["additionalProperties"] is False
    assert described["properties"]["weight"] == {
        "type": ["number", "null"], "minimum": 0, "maximum": 100, "description": "[kg]",
    }  # fmt: skip
    assert described["properties"]["sent"] == {"type": "string", "format": "date-time"}
    assert described["properties"]["size"]["enum"] == ["S", "M", "L"]
    nullable = Schema((Column("c", "category", values=("x",), nullable=True),), TARGET)
    assert json_schema(nullable)["properties"]["c"]["enum"] == ["x", None]
