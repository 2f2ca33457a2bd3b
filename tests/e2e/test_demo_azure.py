"""``make demo-azure`` in a folder and on ports of its own: the same demo, with Azure's pools, store and services."""

import json
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.e2e.rehearsal import Rehearsal
from tests.e2e.state_folders import owned_processes, state_folder

IRIS = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
MIRRORED = """
import json
import tempfile
from pathlib import Path
from azureml.core import Experiment, Model
from tasks.azure import open_workspace
from tasks.context import open_model
workspace = open_workspace(open_model("iris").settings).workspace
models = sorted(Model.list(workspace, name="iris"), key=lambda each: each.version)
runs = [model.run for model in models]
print(json.dumps([{"tags": each.tags, "description": each.description} for each in models]))
shown = [{"id": run.id, "status": run.status, "metrics": run.get_metrics()} for run in runs]
for run, each in zip(runs, shown):
    with tempfile.TemporaryDirectory() as folder:
        run.download_file("confusion_matrix", folder + "/confusion.json")
        each["confusion"] = json.loads(Path(folder, "confusion.json").read_bytes())
print(json.dumps(shown))
"""
pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]


class Played(Rehearsal):
    """A rehearsal of Azure and what was played on it."""

    @property
    def written(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state" / "demo.json").read_bytes())
        return found

    def exchanges(self, **query: str) -> list[dict[str, Any]]:
        """What the twin was asked and answered."""
        url = f"{self.environment()['HTTPS_PROXY']}/twin/exchanges"
        found: list[dict[str, Any]] = httpx.get(url, params=query, trust_env=False, timeout=60).json()
        return found

    def identities(self) -> list[dict[str, Any]]:
        """The user-assigned identities."""
        url = f"{self.environment()['HTTPS_PROXY']}/twin/resources"
        told = httpx.get(url, params={"type": "userAssignedIdentities"}, trust_env=False, timeout=60)
        found: list[dict[str, Any]] = told.json()
        return found

    def score(self, records: Any) -> httpx.Response:
        """What PROD answers under Azure's name."""
        told, prod = self.environment(), self.written["models"]["iris"]["prod"]
        context = ssl.create_default_context(cafile=told["SSL_CERT_FILE"])
        with httpx.Client(proxy=told["HTTPS_PROXY"], verify=context, trust_env=False) as client:
            return client.post(f"{prod['url']}/score", json=records, headers={"Authorization": f"Bearer {prod['key']}"})


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with state_folder() as folder:
        rehearsal = Played(folder / "azure")
        try:
            rehearsal.call("run", sys.executable, "-m", "deployments.demo", "iris", "--drift")
            yield rehearsal
        finally:
            rehearsal.call("down")
            assert owned_processes(folder) == []


def test_nothing_is_left_but_the_two_scoring_groups(played: Played) -> None:
    assert played.groups() == ["mlops-iris-prod", "mlops-iris-uat"]


def test_prod_answers_under_azures_name_with_the_new_version(played: Played) -> None:
    prod = played.written["models"]["iris"]["prod"]
    assert (prod["url"], prod["version"]) == ("https://mlops-iris-prod.westeurope.azurecontainer.io", "2")
    answer = played.score(IRIS)
    assert (answer.status_code, answer.json()["output"]) == (200, {"predicted_species": "1"})
    assert answer.json()["model"]["version"] == "2"


def test_the_loop_was_closed_by_the_automation(played: Played) -> None:
    told = played.written["iris"]
    first, second, third = told["windows"]
    assert [each["verdict"] for each in (first, second)] == ["investigate", "retrain"]
    assert [each["version"] for each in told["windows"]] == ["1", "1", "2"]
    assert max(first["right"], second["right"]) < 0.8 < 0.9 < third["right"]
    (retraining,) = told["retrainings"]
    assert (retraining["from_version"], retraining["to_version"]) == ("1", "2")
    assert retraining["automation_id"]
    api = f"http://127.0.0.1:{played.ports['MLOPS_PREFECT_PORT']}/api"
    url = f"{api}/flow_runs/{retraining['flow_run_id']}"
    assert httpx.get(url, trust_env=False).status_code == 401
    user, _, password = (
        played.call("run", str(Path(sys.executable).with_name("mlops")), "sign-in").strip().partition(":")
    )
    run = httpx.get(url, trust_env=False, auth=(user, password)).json()
    assert (run["created_by"]["type"], run["work_pool_name"]) == ("AUTOMATION", "training")


def test_the_ledger_tells_why(played: Played) -> None:
    told = played.call("run", str(Path(sys.executable).with_name("mlops")), "ledger", "iris")
    decisions = [line.partition("  ")[2] for line in told.splitlines() if line[:2] == "20"]
    wanted = (
        "verdict prod-rows-000002: retrain",
        "retraining prod-rows-000002: challenger ready",
        "approval prod-version-2-",
        "release version-2-",
    )
    positions = [next(at for at, line in enumerate(decisions) if line.startswith(each)) for each in wanted]
    assert positions == sorted(positions)
    assert "approve by demo" in decisions[positions[2]]
    assert decisions[positions[3]].endswith("released")


def test_training_were_jobs_and_the_other_flows_container_groups(played: Played) -> None:
    deployed = {
        each["path"].rpartition("/deployments/prefect-")[2][:-37] for each in played.exchanges(method="PUT")
    } - {""}
    assert {"ingestion", "validation", "release", "drift-check"} <= deployed
    assert not deployed & {"training", "retraining"}


def test_each_release_is_shown_in_the_workspace(played: Played) -> None:
    """Asked through the SDK, as a person's notebook would."""
    lines = played.call("run", sys.executable, "-c", MIRRORED).splitlines()
    models, runs = (json.loads(line) for line in lines[-2:])
    assert [(each["tags"]["version"], each["tags"]["stage"]) for each in models] == [
        ("1", "released"),
        ("2", "released"),
    ]
    assert models[1]["description"] == "Version 2 of iris, released after validation and approval."
    prod = played.written["models"]["iris"]["prod"]
    assert models[1]["tags"]["digest"] == prod["digest"]
    for run, version in zip(runs, ("1", "2"), strict=True):
        assert run["id"].startswith(f"iris-{version}-")
        assert run["status"] == "Completed"
        assert run["metrics"]["accuracy"] > 0.9
        confusion = run["confusion"]["data"]
        assert confusion["class_labels"] == ["0", "1", "2"]
        assert sum(map(sum, confusion["matrix"])) == run["metrics"]["holdout_rows"]


def test_the_flow_provision_made_the_cluster_of_the_workspace_that_was_there(played: Played) -> None:
    made = [each["path"].rpartition("/providers/")[2] for each in played.exchanges(method="PUT")]
    assert made.count("Microsoft.MachineLearningServices/workspaces/mlw-mlops") == 1
    assert made.count("Microsoft.MachineLearningServices/workspaces/mlw-mlops/computes/iriscompute") == 1


def test_the_flow_provision_uploaded_the_rows_to_the_workspaces_datastore(played: Played) -> None:
    uploaded = [each for each in played.exchanges(method="PUT", path="/snapshots/parts/") if each["status"] == 201]
    assert {each["host"].partition(".")[0] for each in uploaded} == {"mlstmlops"}


def test_everybody_acted_as_himself_and_nobody_was_refused(played: Played) -> None:
    """Flow runs, the workers and the scoring services each by their own identity, with the roles of infra/bicep."""
    asked = [each for each in played.exchanges() if each["host"] != "login.microsoftonline.com"]
    assert [(each["method"], each["path"]) for each in asked if each["status"] == 403] == []
    asking: dict[str, set[str]] = {}
    for each in asked:
        kind, _, token = each["request_headers"].get("authorization", "").partition(" ")
        if kind.lower() == "bearer":  # A workspace's own storage is opened by key.
            client = jwt.decode(token, options={"verify_signature": False})["appid"]
            asking.setdefault(client, set()).add(f"{each['method']} {each['host']}")
    names = {each["properties"]["clientId"]: each["name"] for each in played.identities()}
    names[played.environment()["AZURE_CLIENT_ID"]] = "owner"
    by_name = {names[client]: what for client, what in asking.items()}
    assert set(by_name) == {"owner", "mlops-flows", "mlops-worker"}  # Scoring services ask the store alone.
    assert {"PUT management.azure.com", "PUT kv-mlops.vault.azure.net"} <= by_name["mlops-flows"]
    assert {"PUT management.azure.com", "POST westeurope.api.azureml.ms"} <= by_name["mlops-worker"]


def test_no_key_of_a_service_is_in_what_resource_manager_answered(played: Played) -> None:
    key = played.written["models"]["iris"]["prod"]["key"]
    found = played.exchanges(path="management.azure.com")
    assert len(found) > 20
    assert key not in json.dumps([each["response"] for each in found])
