"""Iris on a rehearsal of Azure, while Azure fails: its flows in their real places, and what they leave behind."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from infra.azure_twin.rehearsal.landing_zone import SIGN_IN, Subscription
from mlops.adapters.azure_auth import credential
from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.datasets import iris_csv
from mlops.adapters.services.keys import key_of
from mlops.adapters.serving import Found, read_state
from mlops.core.serving import Environment
from tasks.context import ModelContext, open_model
from tests.e2e.asking import Asked, asking
from tests.e2e.iris import make_version
from tests.e2e.rehearsal import ROOT, Rehearsal
from tests.infra.prefect_server import FINAL, PrefectServer
from tests.infra.twin import GROUP, TwinClient

QUICK = {
    "approval": {"prod": "automatic"},
    "shadow": {"seconds": 0.5},
    "canary": {"steps": [0.5], "min_seconds": 0.5, "min_requests": 5, "max_seconds": 5},
}
SCORING = {"mlops-iris-uat", "mlops-iris-prod"}
IMAGES = ("mlops-scoring:latest", "mlops-scoring:2")
MEMORY = ("1.5", "2.0")
RECORD = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
REGISTRY = "Microsoft.ContainerRegistry/registries/crmlops"
COMPUTE = "Microsoft.MachineLearningServices/workspaces/mlw-mlops/computes/iriscompute"
OF_REHEARSAL = {
    "ML_RESOURCEGROUP": GROUP, "ML_WORKSPACE": "mlw-mlops", "ML_COMPUTENAME": "iriscompute", "ML_COMPUTEIDLESECS": "2",
}  # fmt: skip
"""The training pool's workspace, whose nodes go as soon as they idle."""
OF_PROVISION = "rg-faults"
"""The resource group that the flow provision makes and destroys; everything else is in the rehearsal's."""
SETTLE_SECONDS = 45.0
RUN_SECONDS = 180.0


@dataclass(frozen=True)
class End:
    """How a flow run ended: its state's type and name, Azure's words in its message, how long it took."""

    type: str
    name: str
    message: str
    seconds: float


class World:
    """The rehearsal's servers and workers, with a first version of iris in UAT and PROD."""

    def __init__(self, folder: Path) -> None:
        self.rehearsal = Rehearsal(folder / "azure")
        self.home = folder / "home"
        self.image, self.memory = IMAGES[0], MEMORY[0]
        self.versions: tuple[str, ...] = ()
        self.version = ""
        """The one to release."""
        self._deployed: dict[str, str] = {}

    def start(self) -> None:
        """Start everything, ingest the flowers, release a first version."""
        _forget_vaults()
        self.rehearsal.call("run", sys.executable, "-m", "deployments.local", "up")
        self.twin = TwinClient(self.rehearsal.folder)
        port = self.rehearsal.ports["MLOPS_PREFECT_PORT"]
        sign_in = Subscription(self.rehearsal.environment()).secret(SIGN_IN)
        self.server = PrefectServer(f"http://127.0.0.1:{port}/api", self.home / "client", sign_in)
        self._write_home()
        self._build_image()
        from deployments.results import ensure_result_storage

        with self.here() as context, self.prefect():
            context.store.put("iris/landing/iris.csv", iris_csv())
            ensure_result_storage(context.settings)
            self.versions = tuple(make_version(context, seed) for seed in (1, 2))
        from flows.ingestion import ingestion

        for end in (self.run(ingestion, "iris"), self.provision(**OF_REHEARSAL)):
            assert end.type == "COMPLETED", end.message
        self.choose()
        first = self.release()
        assert first.type == "COMPLETED", first.message

    def stop(self) -> None:
        """End everything, but first send what this process still has to say to the server."""
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        # They live as long as the process, and would try a server that is gone for each event of later tests.
        EventsWorker.drain_all(timeout=30, at_exit=False)
        APILogWorker.drain_all(timeout=30, at_exit=False)
        if hasattr(self, "server"):
            self.server.api.close()
            self.twin.control.close()
        self.rehearsal.call("down")
        _forget_vaults()

    def _write_home(self) -> None:
        """A checkout's specs, with the release policy of these tests."""
        models = self.home / "deployments" / "models"
        models.mkdir(parents=True)
        told = yaml.safe_load((ROOT / "deployments" / "models" / "iris.yaml").read_text("utf-8"))
        golden = [{"record": each["record"]} for each in told["release"]["golden"]]
        (models / "iris.yaml").write_text(yaml.safe_dump(told | {"release": QUICK | {"golden": golden}}))
        (self.home / "infra").mkdir()
        shutil.copy(ROOT / "infra" / "prices.yaml", self.home / "infra")

    def _build_image(self) -> None:
        """A second image of the scoring service."""
        registry = f"{self.group}/providers/{REGISTRY}"
        task = {"type": "DockerBuildRequest", "imageNames": [IMAGES[1]], "platform": {"os": "Linux"}}
        task |= {"dockerFilePath": "infra/docker/scoring.Dockerfile"}
        self.twin.arm("POST", f"{registry}/scheduleRun", "2019-06-01-preview", task)

    @property
    def group(self) -> str:
        return f"/subscriptions/{self.twin.subscription}/resourceGroups/{GROUP}"

    @property
    def compute(self) -> str:
        """The resource id of the training pool's cluster."""
        return f"{self.group}/providers/{COMPUTE}"

    def wait_for_no_node(self) -> None:
        """Wait until the cluster has scaled to zero."""

        def nodes() -> int:
            found = self.twin.arm("GET", self.compute, "2024-04-01").json()["properties"]["properties"]
            return int(found["currentNodeCount"])

        self.wait_until(lambda: nodes() == 0, "the cluster has no node")

    @contextmanager
    def here(self, **more: str) -> Iterator[ModelContext]:
        """Let this process be one of the installation, with some settings changed."""
        folder = self.rehearsal.folder
        given = {
            **self.rehearsal.environment(),
            "MLOPS_SETTINGS": str(folder / "mlops.toml"),
            "MLOPS_STATE_DIR": str(folder / "state"),
            "MLOPS_HOME": str(self.home),
            "MLOPS_AZURE_SIGN_IN": "secret",
            "MLOPS_AZURE_SCORING_IMAGE": self.image,
            "MLOPS_AZURE_SCORING_MEMORY": self.memory,
            "ML_RESOURCEGROUP": OF_PROVISION,
            "ML_WORKSPACE": "mlw-faults",
            "ML_COMPUTENAME": "faultscompute",
            **more,
        }
        with patch.dict(os.environ, given):
            yield open_model("iris")

    def prefect(self) -> AbstractContextManager[Any]:
        """Let this process use the installation's Prefect server."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_HOME, temporary_settings

        told = {PREFECT_API_URL: self.server.url, PREFECT_HOME: self.home / "client"}
        return temporary_settings({**told, PREFECT_API_AUTH_STRING: self.server.sign_in})

    def run(self, flow: Any, *arguments: Any, variables: dict[str, str] | None = None, **parameters: Any) -> End:
        """Run a flow in this process, on the installation's Prefect server, with more variables in its environment."""
        began = time.monotonic()
        with self.here(**(variables or {})), self.prefect():
            state = flow(*arguments, **parameters, return_state=True)
        return End(state.type.value, state.name or "", state.message or "", time.monotonic() - began)

    def provision(self, destroy: bool = False, **variables: str) -> End:
        """The flow provision, in this process, for a workspace of its own or that which the variables name."""
        from flows.provision import provision

        with patch("mlops.adapters.azure_resources.POLL_SECONDS", 0.5):
            return self.run(provision, "iris", variables=variables, destroy=destroy)

    def release(self) -> End:
        """The flow release of the version that is not in PROD, in this process; the policy approves."""
        from flows.release import release

        return self.run(release, "iris", self.version)

    def reap(self) -> End:
        """The flow reaper, in this process."""
        from flows.reaper import reaper

        return self.run(reaper)

    def choose(self) -> None:
        """Let the next release be of the version that is not in PROD; asked before Azure fails."""
        found = self.serving("prod")
        now = found.state.champion.version if found else self.versions[-1]
        self.version = next(each for each in self.versions if each != now)

    def serving(self, environment: Environment) -> Found | None:
        """What an environment serves."""
        with self.here() as context:
            return read_state(context.store, "iris", environment)

    def train(self, job: dict[str, Any]) -> End:
        """The flow training, as a job of the worker azure-ml."""
        return self.on_worker("training", "training", {"poll_seconds": 0.5, **job}, model="iris")

    def release_on_worker(self, during: Callable[[str], None] | None = None) -> End:
        """The flow release in a container group; it is approved by a person, after whom it goes on in another one."""
        return self.on_worker("release", "operations", {}, during, model="iris", version=self.version)

    def on_worker(
        self,
        flow: str,
        pool: str,
        job: dict[str, Any],
        during: Callable[[str], None] | None = None,
        **parameters: Any,
    ) -> End:
        """A flow run on a worker, approved when it asks; ``during`` is called with its id as soon as it runs."""
        began = time.monotonic()
        if flow not in self._deployed:
            self._deployed[flow] = self.server.deploy(f"flows/{flow}.py:{flow}", pool, ROOT, flow)
        body = {"parameters": parameters, "job_variables": job, "state": {"type": "SCHEDULED"}}
        run = str(self.server.post(f"/deployments/{self._deployed[flow]}/create_flow_run", **body)["id"])
        if during and self.server.wait(run, "RUNNING", *FINAL)["type"] == "RUNNING":
            during(run)
        state = self.server.wait(run, "PAUSED", *FINAL, seconds=RUN_SECONDS)
        if state["type"] == "PAUSED":
            # Not before its process is gone: a worker's slot would be taken twice.
            self.wait_until(lambda: not self.groups_of(run), "the suspended run's group is deleted")
            answer = {"decision": "approve", "approver": "tester", "comment": ""}
            assert self.server.post(f"/flow_runs/{run}/resume", run_input=answer)["status"] == "ACCEPT"
            state = self.server.wait(run, seconds=RUN_SECONDS)
        return End(state["type"], state["name"], state["message"] or "", time.monotonic() - began)

    @contextmanager
    def once_served(self, environment: Environment, act: Callable[[], None]) -> Iterator[None]:
        """Act once, as soon as the environment's serving state changes."""
        with self.here() as context:
            before = read_state(context.store, "iris", environment)
        stop, acted = threading.Event(), threading.Event()

        def watch() -> None:
            while not stop.wait(0.1):
                found = read_state(context.store, "iris", environment)
                if found and (before is None or found.etag != before.etag):
                    act()
                    return acted.set()

        thread = threading.Thread(target=watch, name="once served")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)
        assert acted.is_set(), f"{environment} was never changed"

    def groups_of(self, run: str) -> list[dict[str, Any]]:
        """The container groups of a flow run."""
        found = self.twin.resources("containerGroups")
        return [each for each in found if each["tags"].get("mlops-flow-run") == run]

    def restart(self, resource: str, *, move: bool = False) -> None:
        """Restart a container group as the platform's maintenance does."""
        answer = self.twin.control.post("/twin/restart", json={"resource": resource, "move": move})
        assert answer.status_code == 204, answer.text

    def service(self, environment: str) -> str:
        """The resource id of a scoring service's group."""
        return f"{self.group}/providers/Microsoft.ContainerInstance/containerGroups/mlops-iris-{environment}"

    def untouched(self) -> list[dict[str, Any]]:
        """The faults that never struck; bounded, those of what follows a run's end are waited for."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := [each for each in self.twin.waiting() if not each["struck"]]) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def left(self) -> list[str]:
        """What flow runs left on Azure: container groups, living jobs, provisioned resources; bounded, it settles."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := self._left()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found

    def _left(self) -> list[str]:
        groups = [f"group {name}" for name in self.twin.groups() if name not in SCORING]
        with self.here() as context:
            settings = context.settings
            ml = AzureMl(
                credential(settings), settings.azure_subscription, settings.azure_resource_group,
                settings.azure_workspace,
            )  # fmt: skip
            jobs = [f"job {each.id}" for each in ml.jobs("prefect-flow-run") if not each.ended]
        made = [each["id"] for each in self.twin.resources() if f"/resourcegroups/{OF_PROVISION}" in each["id"].lower()]
        return [*groups, *jobs, *made]

    def serves_one_version(self) -> bool:
        """Whether PROD's serving state has a champion and nothing that is tried."""
        found = self.serving("prod")
        return found is not None and not found.state.shadow and not found.state.canary

    @contextmanager
    def asking_prod(self) -> Iterator[Asked]:
        """Ask PROD for a flower's species all the while."""
        with self.here() as context:
            key = key_of(context.settings, "iris", "prod")
            url = context.services.describe("iris", "prod").url
        with asking(self.rehearsal.environment(), url, key, RECORD) as asked:
            yield asked

    def wait_until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
            time.sleep(0.2)


def _forget_vaults() -> None:
    """Let the SDK ask anew to which tenant a vault belongs: each twin has one of this name in a tenant of its own."""
    from azure.keyvault.secrets._shared import http_challenge_cache

    http_challenge_cache.clear()


@contextmanager
def world_in(folder: Path) -> Iterator[World]:
    """A world, up while it is used."""
    world = World(folder)
    try:
        world.start()
        yield world
    finally:
        world.stop()
