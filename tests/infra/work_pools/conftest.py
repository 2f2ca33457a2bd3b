"""The pool of container groups with its real worker, on the twin and a Prefect server of the tests' own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments import pools
from infra.azure_twin.rehearsal.landing_zone import REGISTRY, Subscription, identity, prepare
from mlops.settings import Settings
from tests.infra.prefect_server import PrefectServer
from tests.infra.principals import Principal
from tests.infra.twin import GROUP, ROOT, RunningTwin
from tests.infra.work_pools.homes import with_one_pool

FLOWS = "tests/infra/work_pools/sample_flows.py"
IMAGE = "python:3.11-slim"
SECRET = "a secret of the server"


class Pool:
    """A pool with its worker, and the flow runs in it."""

    def __init__(self, twin: RunningTwin, server: PrefectServer, log: Path) -> None:
        self.twin = twin
        self.server = server
        self.log = log

    def deploy(self, flow: str, name: str = "") -> str:
        """Deploy a flow, under a name by which its container groups are known."""
        return self.server.deploy(f"{FLOWS}:{flow}", "operations", ROOT, name)

    def groups_of(self, run: str) -> list[dict[str, Any]]:
        """The container groups of a flow run, found by their tag."""
        return [each for each in self.twin.resources("containerGroups") if each["tags"]["mlops-flow-run"] == run]


@pytest.fixture(scope="session")
def pool(
    azure_twin_session: RunningTwin, prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    """The worker, as ``prefect worker start`` runs it; all that it knows of the twin is its environment.

    It runs under the identity of workers, which has the roles of infra/bicep and no other.
    """
    folder = tmp_path_factory.mktemp("aci-worker")
    pools.ensure_pools(settings_of(azure_twin_session, prefect_server, folder))
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AZURE_", "MLOPS_"))}
    environment = own | prefect_server.environment | azure_twin_session.environment
    environment |= worker_of(azure_twin_session).variables
    del environment["AZURE_CLIENT_SECRET"]
    environment |= {
        "PREFECT_HOME": str(folder),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_API_AUTH_STRING": SECRET,
    }
    options = ["--pool", "operations", "--type", "azure-container-instance", "--name", "aci"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", *options],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield Pool(azure_twin_session, prefect_server, folder / "worker.log")
    process.terminate()
    process.wait(60)


def settings_of(twin: RunningTwin, server: PrefectServer, folder: Path) -> Settings:
    return Settings(
        profile="azure",
        home=with_one_pool(folder / "home", "operations"),
        state_dir=folder / "state",
        store=(folder / "store").as_uri(),  # Flow runs of these tests keep no results.
        prefect_url=server.url,
        mlflow_url="http://127.0.0.1:9/mlflow",
        azure_subscription=twin.subscription,
        azure_resource_group=GROUP,
        azure_region="westeurope",
        azure_registry=f"{REGISTRY}.azurecr.io",
        azure_flow_image=IMAGE,
        azure_flow_identity=identity(Subscription(twin.environment), "flows"),
    )


def worker_of(twin: RunningTwin) -> Principal:
    """The identity that workers run under."""
    return Principal(twin, identity(Subscription(twin.environment), "worker"))


def landing_zone(twin: RunningTwin) -> None:
    """What infra/bicep makes, with its roles, and an image."""
    azure = Subscription(twin.environment)
    prepare(azure)
    source = {"registryUri": "docker.io", "sourceImage": f"library/{IMAGE}"}
    registry = azure.id(f"Microsoft.ContainerRegistry/registries/{REGISTRY}")
    twin.arm("POST", f"{registry}/importImage", "2023-07-01", {"source": source, "targetTags": [IMAGE]})
