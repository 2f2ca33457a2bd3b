"""The system's shape: what prefect.yaml declares exists, and only the automation starts a retraining."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops import spec
from tasks import events

ROOT = Path(__file__).parents[2]
DECLARED: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = DECLARED["deployments"]
EVENTS = {value for name, value in vars(events).items() if name.isupper()}


def by_name(deployment: dict[str, Any]) -> str:
    return str(deployment["name"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=by_name)
def test_entry_points_are_flows_that_take_the_declared_parameters(deployment: dict[str, Any]) -> None:
    path, _, name = deployment["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    given = [schedule["parameters"] for schedule in deployment.get("schedules", [])]
    given += [trigger["parameters"] for trigger in deployment.get("triggers", [])]
    for parameters in given:
        assert set(parameters) <= set(flow.parameters.properties)
        assert set(flow.parameters.required or []) <= set(parameters)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=by_name)
def test_schedules_name_a_model_each(deployment: dict[str, Any]) -> None:
    models = spec.names(ROOT / "deployments" / "models")
    for schedule in deployment.get("schedules", []):
        assert schedule["parameters"]["model"] in models
        assert schedule["slug"] == schedule["parameters"]["model"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=by_name)
def test_pools_have_a_template_in_the_local_profile(deployment: dict[str, Any]) -> None:
    pool = deployment["work_pool"]["name"]
    assert (ROOT / "infra" / "work_pools" / "local" / f"{pool}.json").is_file()


def test_triggers_expect_events_that_the_flows_emit() -> None:
    expected = {event for each in DEPLOYMENTS for trigger in each.get("triggers", []) for event in trigger["expect"]}
    assert expected == {events.DRIFT_DETECTED, events.CHALLENGER_READY}
    source = "".join(file.read_text("utf-8") for file in (ROOT / "flows").glob("*.py"))
    names = {name for name, value in vars(events).items() if name.isupper() and value in expected}
    assert all(f"emit({name}, " in source for name in names)


def test_no_code_starts_the_retraining() -> None:
    for folder in ("mlops", "tasks", "flows", "deployments"):
        for file in (ROOT / folder).rglob("*.py"):
            if file == ROOT / "flows" / "retraining.py":
                continue
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert node.module != "flows.retraining", file
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    assert node.value != "retraining/retraining", file


@pytest.mark.parametrize(
    "module", ["ingestion", "training", "validation", "release", "rollback", "drift_check", "retraining"]
)
def test_each_flow_has_a_command_line(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"flows.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "model" in done.stdout
    assert "the name of a spec in deployments/models" in done.stdout


def test_a_missing_argument_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.training"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "model" in done.stderr
