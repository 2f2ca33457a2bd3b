"""Scoring services on Kubernetes: manifests that its schemas accept, and the apply path against a stand-in."""

import base64
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import uvicorn
import yaml

from mlops.adapters.services import ServiceError, aks, key_file, open_services
from mlops.adapters.services.aks import AksServices
from mlops.adapters.services.aks_manifests import build_manifests
from mlops.adapters.services.cluster import Manifest
from mlops.adapters.services.container import KEYS
from mlops.settings import Settings, SettingsError
from tests.fakes.kubernetes_api import ApiServer

ROOT = Path(__file__).parents[2]
VERSION = "1.33"
DEPLOYMENTS = "/apis/apps/v1/namespaces/mlops/deployments"
NAME = "scoring-iris-prod"


def validate(manifest: dict[str, Any]) -> None:
    """Raises ``ValueError`` for what Kubernetes' published schema does not allow, unknown fields included."""
    try:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise ValueError(f"{'.'.join(map(str, error.path))}: {error.message}") from None


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return Settings(
        profile="azure",
        home=ROOT,
        state_dir=tmp_path,
        store="https://acct.blob.core.windows.net/mlops",
        scoring_platform="aks",
        azure_registry="example.azurecr.io",
        azure_scoring_image="mlops-scoring:1",
        kubernetes_domain="models.example.com",
        kubernetes_min_replicas=2,
        kubernetes_max_replicas=5,
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server, to which the kubeconfig leads."""
    server = ApiServer(validate, "a-token")
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(server.app, log_config=None, lifespan="off", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    (tmp_path / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "aks",
                "contexts": [{"name": "aks", "context": {"cluster": "aks", "user": "us", "namespace": "other"}}],
                "clusters": [{"name": "aks", "cluster": {"server": f"http://127.0.0.1:{listener.getsockname()[1]}"}}],
                "users": [{"name": "us", "user": {"token": "a-token"}}],
            }
        )
    )
    yield server
    running.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def services(cluster: ApiServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AksServices:  # noqa: ARG001
    monkeypatch.setattr(aks, "POLL_SECONDS", 0.05)
    opened = open_services(settings)
    assert isinstance(opened, AksServices)
    return opened


def deployment(services: AksServices) -> Manifest:
    found = services._cluster.find("Deployment", NAME)
    assert found
    return found


def image(services: AksServices) -> str:
    return str(deployment(services)["spec"]["template"]["spec"]["containers"][0]["image"])


def test_every_manifest_is_what_kubernetes_schemas_allow(settings: Settings) -> None:
    manifests = build_manifests(settings, "iris", "prod", {"MLOPS_SCORING_LIMIT_BATCH": "7"}, {KEYS: "k"})
    for each in manifests:
        validate(each)
    assert [each["kind"] for each in manifests] == list(aks.KINDS)
    pod = manifests[1]["spec"]["template"]["spec"]
    assert {"name": "MLOPS_SCORING_LIMIT_BATCH", "value": "7"} in pod["containers"][0]["env"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    with pytest.raises(ValueError, match="replcias"):
        validate({**manifests[1], "spec": {**manifests[1]["spec"], "replcias": 1}})


FILES = [file for file in sorted((ROOT / "infra/kubernetes").glob("*.yaml")) if file.name != "scoring.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_of_the_cluster_is_what_kubernetes_schemas_allow(file: Path) -> None:
    for each in yaml.safe_load_all(file.read_text("utf-8")):
        validate(each)


def test_a_service_is_made_once_found_and_removed(services: AksServices, cluster: ApiServer) -> None:
    assert services.describe("iris", "prod").status == "absent"
    assert services.changes("iris", "prod") == services.logs("iris", "prod") == ""
    service = services.ensure("iris", "prod")
    assert (service.url, service.status) == ("https://iris-prod.models.example.com", "running")
    assert services.ensure("iris", "prod") == service == services.describe("iris", "prod")
    assert services.recorded() == [service]
    assert "listens on" in services.logs("iris", "prod", 1)
    services.remove("iris", "prod")
    services.remove("iris", "prod")
    assert services.recorded() == []
    assert not any(cluster._objects.values())


def test_keys_are_in_the_secret_alone(services: AksServices, cluster: ApiServer, settings: Settings) -> None:
    services.ensure("iris", "prod")
    key = key_file(settings, "iris", "prod").read_text().strip()
    (secret,) = cluster._objects["/api/v1/namespaces/mlops/secrets"].values()
    assert base64.b64decode(secret["data"][KEYS]).decode().strip() == key
    assert [path for _, path, body in cluster.requests if key in body] == [f"/api/v1/namespaces/mlops/secrets/{NAME}"]


def test_a_new_key_restarts_nothing(services: AksServices, cluster: ApiServer, settings: Settings) -> None:
    services.ensure("iris", "prod")
    generation = deployment(services)["metadata"]["generation"]
    key_file(settings, "iris", "prod").write_text("another-key\n")
    assert services.changes("iris", "prod") == ""
    services.ensure("iris", "prod")
    assert deployment(services)["metadata"]["generation"] == generation
    (secret,) = cluster._objects["/api/v1/namespaces/mlops/secrets"].values()
    assert base64.b64decode(secret["data"][KEYS]) == b"another-key\n"


def test_a_new_image_is_rolled_out_and_said_before(
    services: AksServices, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    services.ensure("iris", "prod")
    newer = AksServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))
    said = newer.changes("iris", "prod")
    assert said.startswith("its image changes from example.azurecr.io/mlops-scoring:1 to ")
    assert "answers throughout" in said
    newer.ensure("iris", "prod")
    assert said in caplog.text
    assert image(newer) == "example.azurecr.io/mlops-scoring:2"
    assert newer.changes("iris", "prod") == ""


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff"])
def test_pods_that_cannot_start_give_way_and_the_old_ones_answer(
    reason: str, services: AksServices, cluster: ApiServer, settings: Settings
) -> None:
    services.ensure("iris", "prod")
    cluster.broken["example.azurecr.io/mlops-scoring:2"] = reason
    newer = AksServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))
    with pytest.raises(ServiceError, match=rf"cannot start: {reason}(.|\n)*mlops-scoring:2 starts"):
        newer.ensure("iris", "prod")
    assert services.describe("iris", "prod").status == "running"
    assert services.changes("iris", "prod") == ""
    assert image(services) == "example.azurecr.io/mlops-scoring:1"
    cluster.broken.clear()
    assert newer.ensure("iris", "prod").status == "running"


def test_a_new_service_that_cannot_start_is_scaled_to_nothing(services: AksServices, cluster: ApiServer) -> None:
    cluster.broken["example.azurecr.io/mlops-scoring:1"] = "CreateContainerConfigError"
    with pytest.raises(ServiceError, match="CreateContainerConfigError"):
        services.ensure("iris", "prod")
    assert services.describe("iris", "prod").status == "stopped"
    cluster.broken.clear()
    assert services.ensure("iris", "prod").status == "running"


def test_stop_keeps_the_objects_for_the_next_start(services: AksServices, settings: Settings) -> None:
    first = services.ensure("iris", "prod")
    services.stop("iris", "prod")
    services.stop("iris", "prod")
    (stopped,) = services.recorded()
    assert (stopped.url, stopped.status) == (first.url, "stopped")
    assert services.ensure("iris", "prod") == first
    assert deployment(services)["spec"]["replicas"] == settings.kubernetes_min_replicas


def test_the_autoscalers_replicas_are_left_alone(services: AksServices) -> None:
    services.ensure("iris", "prod")
    services._cluster.merge("Deployment", NAME, {"spec": {"replicas": 4}})
    services.ensure("iris", "prod")
    assert deployment(services)["spec"]["replicas"] == 4


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int, services: AksServices, cluster: ApiServer) -> None:
    cluster.failing = [status, status]
    assert services.ensure("iris", "prod").status == "running"


def test_what_the_server_refuses_is_told(services: AksServices, cluster: ApiServer) -> None:
    cluster._token = "another"
    with pytest.raises(ServiceError, match="Kubernetes answered 401: Unauthorized"):
        services.describe("iris", "prod")


def test_a_server_that_is_away_is_told(services: AksServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del services
    text = (tmp_path / "kubeconfig").read_text()
    (tmp_path / "kubeconfig").write_text(text.replace(text.partition("127.0.0.1:")[2].split("\n")[0], "9"))
    monkeypatch.setattr("mlops.adapters.services.cluster.RETRIES", False)
    settings = Settings(azure_registry="r", kubernetes_domain="d")
    with pytest.raises(ServiceError, match=r"does not answer to GET /apis/apps/v1/namespaces/mlops/deployments"):
        AksServices(settings).describe("iris", "prod")


def test_no_cluster_is_a_setting_to_make(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"MLOPS_KUBERNETES_CONTEXT.*az aks get-credentials"):
        AksServices(settings)
    with pytest.raises(SettingsError, match="MLOPS_KUBERNETES_DOMAIN"):
        open_services(msgspec.structs.replace(settings, kubernetes_domain=""))


class TestStandIn:
    """What the stand-in says where the client's code does not go."""

    def ask(self, services: AksServices, method: str, query: dict[str, str], body: Manifest) -> Any:
        path = DEPLOYMENTS + (f"/{NAME}" if method == "PATCH" else "")
        content = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        status, text = services._cluster._ask(method, path, query, body, content)
        return status, json.loads(text)

    def test_applying_what_another_manager_owns_is_a_conflict(self, services: AksServices) -> None:
        services.ensure("iris", "prod")
        body = {key: deployment(services)[key] for key in ("apiVersion", "kind")}
        body |= {"metadata": {"name": NAME}, "spec": deployment(services)["spec"] | {"minReadySeconds": 3}}
        body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
        status, told = self.ask(services, "PATCH", {"fieldManager": "another"}, body)
        assert (status, told["reason"]) == (409, "Conflict")
        assert 'conflict with "mlops-loop": .spec.template.spec.terminationGracePeriodSeconds' in told["message"]
        assert self.ask(services, "PATCH", {"fieldManager": "another", "force": "true"}, body)[0] == 200
        assert self.ask(services, "PATCH", {}, body)[0] == 400

    def test_creating_twice_is_a_conflict_and_a_wrong_field_is_refused(self, services: AksServices) -> None:
        services.ensure("iris", "prod")
        found = deployment(services)
        assert self.ask(services, "POST", {}, found)[0] == 409
        found["spec"]["replcias"] = 1
        found = {key: found[key] for key in ("apiVersion", "kind", "metadata", "spec")}
        status, told = self.ask(services, "PATCH", {"fieldManager": "a"}, found)
        assert (status, "replcias" in told["message"]) == (400, True)
