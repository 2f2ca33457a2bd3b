"""The pool of Azure ML jobs: a cluster of the twin, and our worker as a process of its own."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from deployments import pools
from infra.azure_twin.rehearsal.landing_zone import REGISTRY, VAULT, WORKSPACE, Subscription, identity, prepare
from mlops.adapters.azure_auth import credential
from mlops.adapters.azure_ml import AzureMl
from mlops.core.azure_ml import ClusterSpec, Job
from mlops.settings import Settings
from tests.infra.prefect_server import PrefectServer
from tests.infra.principals import Principal
from tests.infra.twin import GROUP, ROOT, RunningTwin
from tests.infra.work_pools.homes import with_one_pool

FLOWS = "tests/infra/work_pools/training_flows.py"
AUTH = "admin:only-the-worker-knows"


class Pool:
    """A pool with a cluster and its worker, which tests may kill."""

    def __init__(self, twin: RunningTwin, server: PrefectServer, folder: Path) -> None:
        self.twin, self.server, self.folder = twin, server, folder
        azure = Subscription(twin.environment)
        self.settings = Settings(
            profile="azure",
            home=ROOT,
            state_dir=folder / "state",
            store=(folder / "store").as_uri(),  # No results in Blob, which would need Azurite.
            prefect_url=server.url,
            mlflow_url="http://mlflow.invalid",
            azure_sign_in="secret",
            azure_tenant=twin.environment["AZURE_TENANT_ID"],
            azure_client_id=twin.environment["AZURE_CLIENT_ID"],
            azure_subscription=twin.subscription,
            azure_resource_group=GROUP,
            azure_region="westeurope",
            azure_workspace=WORKSPACE,
            azure_registry=f"{REGISTRY}.azurecr.io",
            azure_flow_image="python:3.11",
            azure_flow_identity=identity(azure, "flows"),
            azure_key_vault=f"https://{VAULT}.vault.azure.net",
        )
        prepare(azure)
        self.worker_identity = Principal(twin, identity(azure, "worker"))
        self.ml = AzureMl(credential(self.settings), twin.subscription, GROUP, WORKSPACE)
        size, runs_as = "STANDARD_DS2_V2", self.settings.azure_flow_identity
        self.ml.ensure_compute(
            ClusterSpec(name="iriscompute", size=size, max_nodes=2, idle_seconds=1, identity=runs_as)
        )
        pools.ensure_pools(msgspec.structs.replace(self.settings, home=with_one_pool(folder / "home", "training")))
        self.worker = self.start_worker("first")

    def start_worker(self, name: str) -> subprocess.Popen[bytes]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "AZURE_", "MLOPS_"))}
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "2"}
        given = self.twin.environment | self.server.environment | self.settings.environment()
        # The worker runs under its own identity, with the roles of infra/bicep and no other.
        given |= {"MLOPS_AZURE_SIGN_IN": "default", **self.worker_identity.variables}
        given["MLOPS_AZURE_CLIENT_ID"] = self.worker_identity.client
        del given["AZURE_CLIENT_SECRET"]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "-p", "training", "-t", "azure-ml", "-n", "w-1"],
                env=own | given | quick | {"PREFECT_API_AUTH_STRING": AUTH, "HOME": str(self.folder)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def restart_worker(self, name: str) -> None:
        """Another worker, which has opened no workspace yet."""
        self.worker.terminate()
        self.worker.wait(60)
        self.worker = self.start_worker(name)

    def start(self, flow: str, job: dict[str, Any] | None = None, **parameters: Any) -> str:
        variables = {"poll_seconds": 0.3, **(job or {})}
        deployment = self.server.deploy(f"{FLOWS}:{flow}", "training", ROOT)
        body = {"parameters": parameters, "job_variables": variables, "state": {"type": "SCHEDULED"}}
        return str(self.server.post(f"/deployments/{deployment}/create_flow_run", **body)["id"])

    def run(self, flow: str, job: dict[str, Any] | None = None, **parameters: Any) -> tuple[str, dict[str, Any]]:
        run = self.start(flow, job, **parameters)
        return run, self.server.wait(run)

    def jobs(self, run: str, seconds: float = 90) -> list[str]:
        """How a flow run's jobs ended, oldest first; a job ends a little later than its flow run."""
        deadline = time.monotonic() + seconds
        while not (found := self.submitted(run)) or not all(job.ended for job in found):
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return [job.status for job in reversed(found)]

    def submitted(self, run: str) -> list[Job]:
        return self.ml.jobs("prefect-flow-run", run)

    def wait_for_log(self, run: str, text: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while text not in (logs := self.server.logs(run)):
            assert time.monotonic() < deadline, logs
            time.sleep(0.2)

    def wait_for_no_node(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while (cluster := self.ml.compute("iriscompute")) is None or cluster.nodes:
            assert time.monotonic() < deadline, cluster
            time.sleep(0.2)
