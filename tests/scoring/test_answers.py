"""Answers are put together from encoded parts and are still JSON, whatever the names in them."""

import json

import numpy as np

from mlops.adapters.arrow_arrays import Coded
from mlops.core.schema import Column, Schema, Target
from mlops.core.serving import Served
from mlops.scoring.answers import Answers

ODD = Schema((Column("x", "number"),), Target('Who "?"\\', ('say "no"', "é\n", "request_id")))
MODEL = {"name": "m", "version": '1"', "digest": "d"}


def test_odd_names_are_escaped() -> None:
    answers = Answers("m", Served("d", '1"'), ODD)
    classes, key = ODD.target.classes, ODD.output
    found = json.loads(answers.one("é\n", [0.25, 0.5, 0.25], "a.b"))
    assert found == {
        "output": {key: "é\n"},
        "probabilities": dict(zip(classes, (0.25, 0.5, 0.25), strict=True)),
        "request_id": "a.b",
        "model": MODEL,
    }


def test_many_answers_are_in_order() -> None:
    answers = Answers("m", Served("d", '1"'), ODD)
    rows = np.array([[1, 0, 0], [0, 0.5, 0.25]], dtype=np.float32)
    found = json.loads(answers.many(Coded(ODD.target.classes, np.array([0, 1])), rows, "r"))
    assert [each[ODD.output] for each in found["output"]] == ['say "no"', "é\n"]
    assert [list(each.values()) for each in found["probabilities"]] == [[1, 0, 0], [0, 0.5, 0.25]]
    assert (found["request_id"], found["model"]) == ("r", MODEL)
