"""The images of infra/docker, built for real and run as themselves.

The builder is Buildah; where no registry can be reached, the base is made of Debian's packages.
"""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

from mlops.adapters import bundles
from mlops.adapters.datasets import iris_csv
from mlops.adapters.prediction_log import prediction_keys
from mlops.adapters.snapshots import Snapshots
from mlops.adapters.store import FolderStore
from mlops.core.serving import Served, ServingState, state_key
from mlops.spec import load as load_spec
from tests.e2e.images import ROOT, Images, obstacle
from tests.e2e.iris import make_bundle
from tests.infra.bicep.evaluate import Deployment
from tests.infra.prefect_server import PrefectServer
from tests.ports import free_port
from tests.waiting import becomes_ready, eventually

USER = 10001
MAX_SCORING_MEGABYTES = 400
"""Without the base, of which Python's own image has about 130."""
FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}

pytestmark = pytest.mark.skipif(bool(obstacle()), reason=f"images cannot be built here: {obstacle()}")


@pytest.fixture(scope="module")
def images() -> Iterator[Images]:
    folder = Path(tempfile.mkdtemp(prefix="mlops-images-"))
    found = Images(folder)
    try:
        found.prepare()
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="module")
def flows_image(images: Images) -> str:
    return images.build("flows")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that the user of the images may write to."""
    with tempfile.TemporaryDirectory(prefix="mlops-shared-") as folder:
        yield Path(folder)


def give_to_image(folder: Path) -> None:
    """Let a folder belong to the user that the images run as."""
    for parent, _, files in os.walk(folder):
        os.chown(parent, USER, USER)
        for each in files:
            os.chown(Path(parent, each), USER, USER)


def test_the_scoring_image_serves_is_healthy_and_stops(images: Images, shared: Path, tmp_path: Path) -> None:
    store = FolderStore(shared / "store")
    files = make_bundle(load_spec(ROOT / "deployments/models", "iris"), seed=1)
    served = Served(bundles.save(store, "iris", "seed-1", files), "1")
    store.put(state_key("iris", "prod"), msgspec.json.encode(ServingState(generation=1, champion=served)))
    secrets, port, log = shared / "secrets", free_port(), tmp_path / "service.log"
    secrets.mkdir()
    (secrets / "scoring-keys").write_text("a-key-for-tests\n")
    give_to_image(shared)
    environment = {
        "MLOPS_HOST": "127.0.0.1",
        "MLOPS_SCORING_BIND_PORT": str(port),
        "MLOPS_STORE": "file:///store",
        "MLOPS_SCORING_MODEL": "iris",
        "MLOPS_SCORING_ENVIRONMENT": "prod",
    }
    volumes = {store.root: "/store", secrets: "/run/secrets"}
    image = images.build("scoring")
    assert images.megabytes(image) < MAX_SCORING_MEGABYTES
    with images.container(image) as container:
        health = container.told["Healthcheck"]["Test"]
        assert health[0] == "CMD"
        assert container.run(*health[1:], environment=environment).returncode != 0
        service = container.start(volumes=volumes, environment=environment, log=log)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            assert becomes_ready(client, service), log.read_text()
            assert client.post("/score", json=FLOWER).status_code == 401
            answer = client.post("/score", json=FLOWER, headers={"Authorization": "Bearer a-key-for-tests"})
            assert (answer.status_code, answer.json()["output"]) == (200, {"predicted_species": "1"})
            process = psutil.Process(client.get("/healthz").json()["pid"])
        assert container.run(*health[1:], environment=environment).returncode == 0
        assert set(process.uids()) == {USER}
        process.send_signal(signal.Signals[container.told.get("StopSignal", "SIGTERM")])
        assert service.wait(timeout=30) == 0, log.read_text()
    assert prediction_keys(store, "iris", "prod")


def test_the_workers_image_polls_a_pool_of_our_own_type(
    images: Images, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"

    def workers() -> list[str]:
        found = prefect_server.api.post("/work_pools/of-the-image/workers/filter", json={})
        return [each["status"] for each in found.json()] if found.is_success else []

    with images.container(images.build("worker")) as container:
        worker = container.start(
            *("--pool", "of-the-image", "--type", "azure-ml"),
            log=log,
            environment={"PREFECT_API_URL": prefect_server.url},
        )
        assert eventually(lambda: workers() == ["ONLINE"] or worker.poll() is not None, 120), log.read_text()
        assert worker.poll() is None, log.read_text()
        assert prefect_server.api.get("/work_pools/of-the-image").json()["type"] == "azure-ml"
        assert {user for each in container.processes() for user in each.uids()} == {USER}


def test_the_flows_image_runs_a_deployment_as_a_container_of_a_pool_does(
    images: Images, flows_image: str, prefect_server: PrefectServer, shared: Path, tmp_path: Path
) -> None:
    store, log = FolderStore(shared / "store"), tmp_path / "run.log"
    store.put("iris/landing/iris.csv", iris_csv())
    give_to_image(shared)
    prefect_server.post("/work_pools/", name="of-containers", type="process")
    deployment = prefect_server.deploy("flows/ingestion.py:ingestion", "of-containers", Path("/app"))
    run = prefect_server.start(deployment, model="iris")
    environment = {
        "PREFECT_API_URL": prefect_server.url,
        "PREFECT__FLOW_RUN_ID": run,
        "MLOPS_STORE": "file:///store",
        "MLOPS_PREFECT_URL": prefect_server.url,
    }
    make_key = (
        "from mlops import settings\n"
        "from mlops.adapters.prices import read_prices\n"
        "from mlops.adapters.services.keys import ensure_key\n"
        "told = settings.load()\n"
        "read_prices(told.home / 'infra/prices.yaml')\n"
        "print(ensure_key(told, 'iris', 'uat'))"
    )
    with images.container(flows_image) as container:
        made = container.run("python", "-c", make_key)
        assert made.stdout.strip() == "/var/lib/mlops/secrets/iris-uat.key", made.stderr
        engine = container.start(volumes={store.root: "/store"}, environment=environment, log=log)
        assert engine.wait(timeout=180) == 0, log.read_text()
    assert prefect_server.state(run)["type"] == "COMPLETED", log.read_text()
    snapshots = Snapshots(store, "iris")
    latest = snapshots.latest()
    assert latest
    assert snapshots.manifest(latest).rows == 150


SERVERS = {
    "prefect": ("/", "<title>Prefect"),
    "mlflow": ("/", "<title>MLflow"),
    "reports": ("/iris/reports/one.html", "a report"),
    "evidently": ("/", "<title>Evidently"),
}
"""Of infra/bicep: a page of each, and what it says."""


def command_of(server: str, port: int) -> list[str]:
    """How infra/bicep starts a server, here on loopback and another port."""
    names = ("name", "location", "appsId", "domain", "registry", "vaultUri", "databasesVaultUri", "storageName")
    given: dict[str, Any] = dict.fromkeys((*names, "imageTag", "deployed"), "mlops")
    for name in ("ids", "clients"):
        given[name] = {"server": "", "worker": ""}
    file = ROOT / "infra/bicep/modules/prefect.bicep"
    modules = Deployment(file, given | {"tags": {}, "servers": 1, "workers": "none"}).modules
    (command,) = [told["command"] for _, told in modules if told["name"] == f"mlops-{server}"]
    told = {"--host": "127.0.0.1", "--port": str(port)}
    return [told.get(before, word) for before, word in zip(("", *command), command, strict=False)]


@pytest.mark.parametrize("server", SERVERS)
def test_the_flows_image_shows_the_pages_of_the_servers(
    images: Images, flows_image: str, server: str, shared: Path, tmp_path: Path
) -> None:
    (path, says), port, log = SERVERS[server], free_port(), tmp_path / "server.log"
    FolderStore(store := shared / "store").put("iris/reports/one.html", b"<p>a report")
    give_to_image(shared)
    environment = {
        "MLOPS_STORE": "file:///store",
        "MLOPS_SERVERS_SIGN_IN": "mlops:a-password-of-tests",
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////var/lib/mlops/mlflow.db",
        "MLFLOW_ARTIFACTS_DESTINATION": "/var/lib/mlops/mlflow",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with images.container(flows_image) as container:
        process = container.start(
            *command_of(server, port), volumes={store: "/store"}, environment=environment, log=log
        )
        with httpx.Client(trust_env=False, timeout=20, auth=("mlops", "a-password-of-tests")) as client:

            def page() -> str:
                try:
                    return client.get(f"http://127.0.0.1:{port}{path}", follow_redirects=True).text
                except httpx.TransportError:
                    return ""

            assert eventually(lambda: says in page() or process.poll() is not None, 120), page() + log.read_text()
        assert process.poll() is None, log.read_text()
        assert {user for each in container.processes() for user in each.uids()} == {USER}
