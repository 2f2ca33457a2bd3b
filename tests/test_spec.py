"""Specs are read strictly, and the message says where and what."""

from pathlib import Path

import pytest

from mlops.spec import SpecError, load, names, parse

MODELS = Path(__file__).parents[1] / "deployments" / "models"

SPEC = """
name: demo
description: What it is for.
data:
  columns:
    - {name: x, type: number}
  target: {name: y, classes: ["0", "1"]}
training:
  metric: accuracy
  split: {method: random, test: 0.3}
  candidates:
    - {name: tree, estimator: decision_tree}
"""


@pytest.mark.parametrize("model", ["flights", "iris"])
def test_the_repositorys_specs_load(model: str) -> None:
    assert load(MODELS, model).name == model
    assert model in names(MODELS)


def test_defaults() -> None:
    spec = parse(SPEC.encode())
    assert (spec.serving_format, spec.release.approval.prod, spec.gates.min_rows, spec.drift.agree) == (
        "onnx",
        "required",
        30,
        2,
    )
    assert spec.training.candidates[0].params == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("split:", "splitt:", r"unknown field `splitt` - at `\$.training`"),
        ("name: demo", "name: demo\nowner: me", "unknown field `owner`"),
        ("estimator: decision_tree", "estimator: xgboost", r"'xgboost' - at `\$.training.candidates\[0\]\.estimator`"),
        ("type: number", "type: float", r"'float' - at `\$.data.columns\[0\]\.type`"),
        ("test: 0.3", "test: many", r"Expected `float`, got `str` - at `\$.training.split.test`"),
        ("test: 0.3", "test: 1.0", "training.split.test is 1.0; it must lie between 0 and 1"),
        ("method: random", "method: time", "data declares no column of type time"),
        ("metric: accuracy", "metric: accuracy\n  window_days: 7", "training.window_days is set, but"),
        ("name: demo", "name: Demo_1", "name 'Demo_1': use lower-case letters"),
        ("description: What it is for.", "", "missing required field `description`"),
        ("- {name: tree,", "- {name: tree, members: [oak],", "candidate 'tree' has unknown members: oak"),
        ("    - {name: tree, estimator: decision_tree}", "    []", "one or more candidates with different names"),
        ("data:", "release: {canary: {steps: [0.5, 0.1]}}\ndata:", "canary.steps are .* must rise"),
        ("data:", "release: {canary: {steps: [1]}}\ndata:", "canary.steps are .* between 0 and 1"),
        ("data:", "release: {canary: {min_seconds: 700}}\ndata:", "min_seconds is above max_seconds"),
        ("data:", "release: {shadow: {seconds: 0, requests: 9}}\ndata:", "requests is set without seconds"),
        ("data:", "release: {approval: required}\ndata:", r"at `\$.release.approval`"),
        ("data:", "data: [", "demo.yaml: "),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str) -> None:
    assert old in SPEC
    with pytest.raises(SpecError, match=message) as caught:
        parse(SPEC.replace(old, new).encode(), "demo.yaml")
    assert str(caught.value).startswith("demo.yaml: ")


def test_candidates_need_different_names() -> None:
    twice = SPEC + "    - {name: tree, estimator: random_forest}\n"
    with pytest.raises(SpecError, match="one or more candidates with different names"):
        parse(twice.encode())


def test_an_absent_model_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(SPEC)
    assert load(tmp_path, "demo").name == "demo"
    with pytest.raises(SpecError, match=r"no spec for model 'demmo' in .*; there are: demo"):
        load(tmp_path, "demmo")


def test_the_name_must_equal_the_files(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(SPEC)
    with pytest.raises(SpecError, match=r"other\.yaml: name is 'demo'; it must equal the file's name"):
        load(tmp_path, "other")


def test_the_digest_follows_the_content() -> None:
    spec = parse(SPEC.encode())
    assert parse(("# A comment.\n" + SPEC).encode()).digest == spec.digest
    assert parse(SPEC.replace("0.3", "0.31").encode()).digest != spec.digest
