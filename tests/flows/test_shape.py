"""The system's shape: what prefect.yaml declares exists, and only the automation starts a retraining."""

import ast
import importlib
import re
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

OF_NO_MODEL = ("reaper",)
"""Flows that look after the installation and not after a model."""


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
    if deployment["name"] in OF_NO_MODEL:
        return
    for schedule in deployment.get("schedules", []):
        assert schedule["parameters"]["model"] in models
        assert schedule["slug"] == schedule["parameters"]["model"]


@pytest.mark.parametrize("pools", ["local", "azure", "azure-aks"])
def test_each_profile_has_the_declared_pools(pools: str) -> None:
    declared = {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS}
    assert {file.stem for file in (ROOT / "infra" / "work_pools" / pools).glob("*.json")} == declared


def test_prefect_yaml_is_the_same_for_every_profile() -> None:
    """It names pools by role, and two variables: where the checkout is, and what was deployed."""
    text = (ROOT / "prefect.yaml").read_text("utf-8")
    assert set(re.findall(r"\{\{ *\$(\w+) *\}\}", text)) == {"MLOPS_HOME", "MLOPS_DEPLOYMENT"}
    assert all(set(deployment["work_pool"]) == {"name"} for deployment in DEPLOYMENTS)


def test_the_profile_is_asked_for_where_pools_and_services_are_chosen_and_nowhere_else() -> None:
    asking = {
        str(file.relative_to(ROOT))
        for folder in ("mlops", "tasks", "flows", "deployments")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr == "profile" and isinstance(node.ctx, ast.Load))
        or (isinstance(node, ast.Constant) and node.value in ("profile", "MLOPS_PROFILE"))
    }
    # Settings name it in an error; apply, in the digest of what is deployed.
    telling = {"mlops/settings.py", "deployments/apply.py"}
    assert asking - telling == {"deployments/pools.py", "mlops/adapters/services/__init__.py"}


def test_triggers_expect_events_that_the_flows_emit() -> None:
    expected = {event for each in DEPLOYMENTS for trigger in each.get("triggers", []) for event in trigger["expect"]}
    of_prefect = {"prefect.flow-run.Cancelled", "prefect.flow-run.Crashed"}
    assert expected == {events.DRIFT_DETECTED, events.RETRAINING_DUE, events.CHALLENGER_READY} | of_prefect
    source = "".join(file.read_text("utf-8") for file in (ROOT / "flows").glob("*.py"))
    names = {name for name, value in vars(events).items() if name.isupper() and value in expected}
    assert all(f"emit({name}, " in source for name in names)


def test_each_event_that_asks_for_a_retraining_starts_it() -> None:
    (trigger,) = next(each["triggers"] for each in DEPLOYMENTS if each["name"] == "retraining")
    assert trigger["expect"] == [events.DRIFT_DETECTED, events.RETRAINING_DUE]


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
    "module",
    ["ingestion", "training", "validation", "release", "rollback", "drift_check", "retraining", "watchdog", "replay"],
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
