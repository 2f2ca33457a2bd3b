"""A model on Container Instances as on Azure: its store by managed identity over HTTPS, its address by TLS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops.adapters.azure_auth import credential
from mlops.adapters.prediction_log import prediction_keys
from mlops.adapters.scoring_client import ScoringClient
from mlops.adapters.services.aci import AciServices
from mlops.adapters.services.keys import key_of
from mlops.adapters.serving import wait_until_served
from mlops.adapters.store import FolderStore, open_store
from mlops.settings import Settings
from tests.fakes.azurite import running_azurite
from tests.infra.subscription import installation, prepare
from tests.infra.twin import RunningTwin, running_twin
from tests.ports import free_port

ACCOUNT = "stmlops"
HOST = f"{ACCOUNT}.blob.core.windows.net"
FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningTwin]:
    """A twin whose storage account is Azurite, which accepts Entra's tokens alone from who has no key."""
    port = free_port()
    forward = ["--forward", f"{HOST}=127.0.0.1:{port}", "--certificate", HOST]
    with running_twin(tmp_path / "twin", *forward) as started:
        certificate = str(tmp_path / "twin" / "authority" / f"{HOST}.pem")
        secure = ["--oauth", "basic", "--cert", certificate, "--key", certificate]
        with running_azurite(tmp_path, port, ACCOUNT, *secure):
            started.use(monkeypatch)
            yield started


@pytest.fixture
def settings(twin: RunningTwin, tmp_path: Path) -> Settings:
    from azure.storage.blob import ContainerClient

    told = prepare(twin, "mlops-scoring:1")
    store = {"azure_storage_account": ACCOUNT, "azure_storage_container": "mlops"}
    settings = installation(told, tmp_path, azure_scoring_image="mlops-scoring:1", **store)
    with ContainerClient(f"https://{HOST}", "mlops", credential(settings)) as container:
        container.create_container()
    return settings


def test_a_release_changes_the_serving_state_and_no_container(
    twin: RunningTwin, settings: Settings, store: FolderStore, publish: Any, iris: dict[str, bytes], stump: Any
) -> None:
    assert settings.store_uri == f"https://{HOST}/mlops"
    blobs, services = open_store(settings.store_uri, settings), AciServices(settings)
    service = services.ensure("iris", "prod")
    pid = httpx.get(f"{service.url}/healthz").json()["pid"]
    twin.control.delete("/twin/exchanges")

    def answer(generation: int, bundle: dict[str, bytes]) -> Any:
        publish(generation, bundle)
        for key in store.list(""):
            blobs.put(key, store.get(key))
        wait_until_served(service.url, generation)
        with ScoringClient(service.url, key_of(settings, "iris", "prod")) as client:
            return client.score(FLOWER).json()

    first, second = answer(1, iris), answer(2, stump)
    assert first["output"] == second["output"] == {"predicted_species": "1"}
    assert first["probabilities"] != second["probabilities"]
    assert httpx.get(f"{service.url}/healthz").json()["pid"] == pid
    asked = [each for each in twin.exchanges() if each["host"] == "management.azure.com"]
    assert [each for each in asked if each["method"] != "GET"] == []
    services.stop("iris", "prod")
    assert prediction_keys(blobs, "iris", "prod")
    services.remove("iris", "prod")
    assert twin.groups() == []
