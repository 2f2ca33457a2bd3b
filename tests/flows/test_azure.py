"""The flows of the build pipeline, the mirror and the reaper against the twin, on a Prefect server."""

import io
import json
import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlops.adapters import bundles
from mlops.adapters.azure_auth import credential
from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.azure_resources import Resources
from mlops.adapters.datasets import iris_csv
from mlops.adapters.snapshots import Source
from mlops.adapters.store import open_store
from mlops.core.azure_ml import ClusterSpec, JobSpec
from mlops.settings import load
from tasks.context import open_model
from tests.infra.prefect_server import PrefectServer
from tests.infra.twin import GROUP, ROOT, RunningTwin
from tests.infra.workspace import make_workspace

LANDING = "iris/landing/iris.csv"
LIBRARY = """\
variables:
  - name: ml.region
    value: westeurope
  - {name: ml.resourceGroup, value: rg-mlops}
  - {name: ml.workspace, value: mlw}
  - group: secrets of the pipeline
"""
KINDS = {
    "Microsoft.Resources/resourceGroups",
    "Microsoft.OperationalInsights/workspaces",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.Insights/components",
    "Microsoft.MachineLearningServices/workspaces",
    "Microsoft.MachineLearningServices/workspaces/computes",
    "Microsoft.MachineLearningServices/workspaces/data/versions",
}


@pytest.fixture
def azure(azure_twin: RunningTwin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunningTwin:
    """The profile azure on the twin; tasks poll and retry quickly."""
    for name, value in {
        "MLOPS_PROFILE": "azure",
        "MLOPS_HOME": str(ROOT),
        "MLOPS_AZURE_SIGN_IN": "secret",
        "MLOPS_AZURE_RESOURCE_GROUP": GROUP,
        "MLOPS_STORE": (tmp_path / "store").as_uri(),
        "ML_COMPUTENAME": "iriscompute",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("mlops.adapters.azure_resources.POLL_SECONDS", 0.2)
    return azure_twin


def run(flow: Any, server: PrefectServer, *arguments: Any, **parameters: Any) -> Any:
    """Run a flow; return its final state."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: server.home}):
        return flow(*arguments, **parameters, return_state=True)


def provision(server: PrefectServer, library: Path, **parameters: Any) -> Any:
    from flows.provision import provision as flow

    return run(flow, server, "iris", str(library), **parameters)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    file = tmp_path / "library.yaml"
    file.write_text(LIBRARY, "utf-8")
    return file


def test_provision_makes_each_component_once_and_destroy_leaves_nothing(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    state = provision(prefect_server, library)
    assert state.is_completed(), state.message
    made = azure.resources()
    assert {each["type"] for each in made} == KINDS
    assert all(each["tags"]["mlops-created-by"] == "provision" for each in made if "versions" not in each["type"])
    compute = next(each for each in made if each["type"].endswith("computes"))["properties"]["properties"]
    assert (compute["vmSize"], compute["scaleSettings"]["nodeIdleTimeBeforeScaleDown"]) == ("STANDARD_DS2_V2", "PT300S")
    assert azure.exchanges("PUT", "landing/iris.csv")[0]["request"] == "rows"

    azure.control.delete("/twin/exchanges")
    assert provision(prefect_server, library).is_completed()
    assert {each["path"] for each in azure.exchanges("PUT") if "blob" not in each["host"]} == set()

    vault = vault_of(azure)
    told = f"resource group rg-mlops is deleted; vault {vault} is purged"
    assert provision(prefect_server, library, destroy=True).message == told
    assert azure.resources() == []
    assert deleted_vaults(azure) == []
    assert provision(prefect_server, library, destroy=True).message == "resource group rg-mlops was not there"

    state = provision(prefect_server, library)
    assert state.is_completed(), state.message
    assert {each["type"] for each in azure.resources()} == KINDS


def test_the_vaults_tenant_is_that_of_the_subscription_whatever_the_settings_say(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    signed_in = credential(load())
    # As `az login` is, which needs no tenant.
    monkeypatch.setattr("mlops.adapters.azure_auth._default", lambda *_: signed_in)
    monkeypatch.setenv("MLOPS_AZURE_SIGN_IN", "default")
    monkeypatch.delenv("AZURE_TENANT_ID")
    assert load().azure_tenant == ""
    state = provision(prefect_server, library)
    assert state.is_completed(), state.message
    (vault,) = azure.resources("KeyVault/vaults")
    assert vault["properties"]["tenantId"] == azure.environment["AZURE_TENANT_ID"]


def vault_of(azure: RunningTwin) -> str:
    """The name of the only vault there is."""
    (found,) = azure.resources("KeyVault/vaults")
    return str(found["name"])


def deleted_vaults(azure: RunningTwin) -> list[str]:
    path = f"/subscriptions/{azure.subscription}/providers/Microsoft.KeyVault/deletedVaults"
    return [each["name"] for each in azure.arm("GET", path, "2023-07-01").json()["value"]]


def test_destroying_goes_on_where_it_ended(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    for ended in ("purge_workspaces", "destroy_group", "purge_vaults"):
        assert provision(prefect_server, library).is_completed()
        vault = vault_of(azure)
        with monkeypatch.context() as patch:
            patch.setattr(f"flows.provision.{ended}", crash)
            assert provision(prefect_server, library, destroy=True).is_failed()
        state = provision(prefect_server, library, destroy=True)
        assert state.is_completed(), state.message
        assert state.message.endswith(f"; vault {vault} is purged")
        assert azure.resources() == []
        assert deleted_vaults(azure) == []
    assert state.message.startswith("resource group rg-mlops was not there; ")


def crash(*_: object) -> None:
    raise RuntimeError("the process ends")


def test_a_vault_that_cannot_be_purged_is_told_with_its_date(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    assert provision(prefect_server, library).is_completed()
    (vault,) = azure.resources("KeyVault/vaults")
    azure.arm("PATCH", vault["id"], "2023-07-01", {"properties": {"enablePurgeProtection": True}})
    state = provision(prefect_server, library, destroy=True)
    assert state.is_completed(), state.message
    until = (datetime.now(UTC) + timedelta(days=90)).strftime("%Y-%m-%d")
    told = (
        f"resource group rg-mlops is deleted; vault {vault['name']} is protected from purging: it keeps its name until "
    )
    assert state.message.startswith(told)
    assert until in state.message
    assert (azure.resources(), deleted_vaults(azure)) == ([], [vault["name"]])
    state = provision(prefect_server, library)
    assert state.is_failed()
    assert "ConflictError: A vault with the same name already exists in deleted state." in state.message


def test_a_workspace_that_azure_keeps_is_purged_by_destroying(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    assert provision(prefect_server, library).is_completed()
    (workspace,) = [each["id"] for each in azure.resources("workspaces") if each["name"] == "mlw"]
    azure.arm("DELETE", workspace, "2024-04-01")
    azure.wait_for(lambda: workspace not in [each["id"] for each in azure.resources("workspaces")])
    state = provision(prefect_server, library)
    assert state.is_failed()
    assert "BadRequest: Soft-deleted workspace exists." in state.message
    assert provision(prefect_server, library, destroy=True).is_completed()
    state = provision(prefect_server, library)
    assert state.is_completed(), state.message


def test_the_rows_of_the_newest_snapshot_are_uploaded(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    context = open_model("iris")
    rows = pd.read_csv(io.BytesIO(iris_csv()))
    part = context.snapshots.put_part(rows, context.spec.data)
    snapshot, _ = context.snapshots.publish((part,), (Source("iris.csv", "a-digest"),))
    state = provision(prefect_server, library)
    assert state.is_completed(), state.message
    folder = f"iris/{snapshot[:16]}/snapshots"
    uploaded = {each["path"].partition(folder)[2] for each in azure.exchanges("PUT", folder)}
    assert uploaded == {f"/{snapshot}/manifest.json", f"/parts/{part.digest}.parquet"}
    (data,) = [each for each in azure.resources() if each["type"].endswith("data/versions")]
    assert data["properties"]["dataUri"].endswith(f"/paths/iris/{snapshot[:16]}/")


def test_each_fault_fails_provisioning_in_azures_words_and_running_again_goes_on(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    faults: list[tuple[str, dict[str, Any], str]] = [
        ("wrong secret", {"match": "oauth2/v2.0/token", "times": 20}, "AADSTS7000215"),
        ("forbidden", {"match": "workspaces/mlw$", "method": "PUT"}, "AuthorizationFailed: The client"),
        ("compute quota", {}, "ClusterCoreQuotaReached: Operation results in exceeding quota"),
        ("compute fails", {}, "ComputeCreationFailed: Creation of compute iriscompute failed"),
    ]
    for kind, how, text in faults:
        azure.fail(kind, **how)
        state = provision(prefect_server, library)
        assert state.is_failed(), kind
        assert text in state.message
        azure.control.delete("/twin/faults")
    azure.fail("throttled", match="computes", method="PUT")
    azure.fail("unavailable", match="data/iris", method="PUT")
    azure.fail("network cut", match="workspaces/mlw$", method="GET")
    state = provision(prefect_server, library)
    assert state.is_completed(), state.message
    assert not azure.control.get("/twin/faults").json()["waiting"]
    assert {each["type"] for each in azure.resources()} == KINDS
    assert len(azure.resources()) == len(KINDS)


def test_a_workspace_that_is_there_keeps_what_it_uses(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    open_store(load().store_uri).put(LANDING, b"rows")
    make_workspace(azure)
    before = {each["id"] for each in azure.resources()}
    state = provision(prefect_server, library)
    assert state.is_completed(), state.message
    made = {each["type"].rpartition("/")[2] for each in azure.resources() if each["id"] not in before}
    assert made == {"computes", "versions"}


def test_what_this_flow_did_not_make_it_does_not_destroy(
    azure: RunningTwin, prefect_server: PrefectServer, library: Path
) -> None:
    Resources(credential(load()), azure.subscription).ensure_group(GROUP, "westeurope", {})
    state = provision(prefect_server, library, destroy=True)
    assert state.is_failed()
    assert "was not made by this flow" in state.message
    assert [each["name"] for each in azure.resources()] == [GROUP]


def test_the_mirror_shows_a_version_once(
    azure: RunningTwin, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from flows.mirror import mirror
    from tests.fakes.registry import FakeRegistry

    make_workspace(azure)
    metrics = (
        b'{"rows": 3, "accuracy": 0.5, "log_loss": 0.7, "roc_auc": null, "per_class": {}, '
        b'"confusion": [[1, 0, 0], [0, 1, 0], [0, 1, 0]]}'
    )
    digest = bundles.save(open_store(load().store_uri), "iris", "snap", {"metrics.json": metrics, "card.md": b"# iris"})
    registry = FakeRegistry()
    version = registry.register("iris", "run", digest, "snap", {})
    registry.set_alias("iris", "champion", version.version)
    monkeypatch.setattr("tasks.context.open_registry", lambda _: registry)
    monkeypatch.setenv("MLOPS_AZURE_WORKSPACE", "mlw")
    for _ in range(2):
        state = run(mirror, prefect_server, "iris")
        assert state.is_completed(), state.message
    ml = AzureMl(credential(load()), azure.subscription, GROUP, "mlw")
    shown = ml.workspace.get_run(f"iris-{version.version}-{digest[:8]}")
    assert shown.get_metrics()["accuracy"] == 0.5
    assert {"bundle/metrics.json", "bundle/card.md", "confusion_matrix"} == set(shown.get_file_names())
    shown.download_file("confusion_matrix", str(tmp_path / "confusion.json"))
    confusion = json.loads((tmp_path / "confusion.json").read_text("utf-8"))["data"]
    assert confusion == {"class_labels": ["0", "1", "2"], "matrix": [[1, 0, 0], [0, 1, 0], [0, 1, 0]]}
    assert len(azure.exchanges("POST", "/models")) == 1
    sent = azure.exchanges("POST", "/models")[0]["request"]
    assert (sent["kvTags"]["digest"], "released after validation" in sent["description"]) == (digest, True)


def test_the_reaper_removes_what_ended_runs_left_and_nothing_else(
    azure: RunningTwin, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.reaper import reaper

    make_workspace(azure)
    monkeypatch.setenv("MLOPS_AZURE_WORKSPACE", "mlw")
    ml = AzureMl(credential(load()), azure.subscription, GROUP, "mlw")
    ml.ensure_compute(ClusterSpec(name="iriscompute", size="STANDARD_DS2_V2", max_nodes=3))
    runs = {name: flow_run(prefect_server, name) for name in ("COMPLETED", "RUNNING")} | {"stranger": str(uuid.uuid4())}
    for name, flow_run_id in runs.items():
        ml.submit(
            JobSpec(
                id=name,
                experiment="iris",
                compute="iriscompute",
                image="python:3.11",
                command=("python", "job.py"),
                files={"job.py": "import time; time.sleep(60)"},
                tags={"prefect-flow-run": flow_run_id},
            )
        )
    for name, flow_run_id in runs.items():
        container_group(azure, name.lower(), {"mlops-flow-run": flow_run_id})
    container_group(azure, "scoring", {"mlops-service": "iris-prod"})
    state = run(reaper, prefect_server)
    assert state.is_completed(), state.message
    assert state.message.startswith("2 of 6 removed; ")
    left = {each["name"] for each in azure.resources("containerGroups")}
    assert left == {"running", "stranger", "scoring"}
    assert {name: ml.job(name).status in ("Canceled", "CancelRequested") for name in runs} == {  # type: ignore[union-attr]
        "COMPLETED": True,
        "RUNNING": False,
        "stranger": False,
    }


def container_group(azure: RunningTwin, name: str, tags: dict[str, str]) -> None:
    """A container group that goes on for longer than the test."""
    container = {
        "image": "python:3.11-slim",
        "command": ["python", "-c", "import time; time.sleep(600)"],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
    }
    path = f"/subscriptions/{azure.subscription}/resourceGroups/{GROUP}/providers/Microsoft.ContainerInstance"
    body = {
        "location": "westeurope",
        "tags": tags,
        "properties": {
            "containers": [{"name": "main", "properties": container}],
            "osType": "Linux",
            "restartPolicy": "Never",
        },
    }
    azure.arm("PUT", f"{path}/containerGroups/{name}", "2023-05-01", body)


def flow_run(server: PrefectServer, state: str) -> str:
    flow = server.post("/flows/", name="left-over")
    made = server.post("/flow_runs/", flow_id=flow["id"], state={"type": "PENDING"})["id"]
    server.post(f"/flow_runs/{made}/set_state", state={"type": state}, force=True)
    return str(made)


@pytest.mark.parametrize("name", ["provision", "mirror", "reaper"])
def test_without_azure_they_say_so(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import importlib

    for variable in [each for each in os.environ if each.startswith("AZURE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("MLOPS_HOME", str(ROOT))
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    state = run(flow, prefect_server, *(() if name == "reaper" else ("iris",)))
    assert state.is_completed()
    assert state.message.startswith("no Azure ")
