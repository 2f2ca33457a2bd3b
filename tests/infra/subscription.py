"""A subscription of the twin, prepared for scoring services: group, registry with the images, identity that pulls."""

import os
import uuid
from functools import cache
from pathlib import Path

import httpx
from azure.identity import EnvironmentCredential

from mlops.settings import Settings
from tests.infra.twin import GROUP, RunningTwin

REGISTRY = "mlopsregistry"
ARM = "https://management.azure.com"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"


def call(method: str, path: str, version: str, body: object = None) -> httpx.Response:
    """Ask Resource Manager as the owner of the subscription, in whose environment this process is."""
    headers = {"Authorization": f"Bearer {_token(os.environ['AZURE_CLIENT_ID'])}"}
    answer = httpx.request(method, f"{ARM}{path}", params={"api-version": version}, json=body, headers=headers)
    assert answer.status_code < 300, answer.text
    return answer


@cache
def _token(_client: str) -> str:
    """A token of the twin whose application this is."""
    return EnvironmentCredential().get_token(f"{ARM}/.default").token


def prepare(twin: RunningTwin, *images: str) -> dict[str, str]:
    """Make what scoring services need; return it as settings."""
    group = f"/subscriptions/{twin.subscription}/resourceGroups/{GROUP}"
    registry = f"{group}/providers/Microsoft.ContainerRegistry/registries/{REGISTRY}"
    identity = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mlops-scoring"
    call("PUT", group, "2021-04-01", {"location": "westeurope"})
    call("PUT", registry, "2023-07-01", {"location": "westeurope", "sku": {"name": "Basic"}})
    principal = call("PUT", identity, "2023-01-31", {"location": "westeurope"}).json()["properties"]["principalId"]
    properties = {"principalId": principal, "roleDefinitionId": f"{group}/roleDefinitions/{ACR_PULL}"}
    name = uuid.uuid5(uuid.NAMESPACE_URL, principal)
    path = f"{registry}/providers/Microsoft.Authorization/roleAssignments/{name}"
    call("PUT", path, "2022-04-01", {"properties": properties})
    for image in images:
        build(registry, image)
    return {
        "azure_subscription": twin.subscription,
        "azure_tenant": twin.environment["AZURE_TENANT_ID"],
        "azure_client_id": twin.environment["AZURE_CLIENT_ID"],
        "azure_sign_in": "secret",
        "azure_resource_group": GROUP,
        "azure_region": "westeurope",
        "azure_registry": f"{REGISTRY}.azurecr.io",
        "azure_identity": identity,
        "azure_dns_prefix": "mlops",
    }


def build(registry: str, image: str) -> None:
    """Build an image by a task of the registry."""
    name = image.partition(":")[0].removeprefix("mlops-")
    request = {
        "type": "DockerBuildRequest",
        "imageNames": [image],
        "dockerFilePath": f"infra/docker/{name}.Dockerfile",
        "platform": {"os": "Linux"},
    }
    call("POST", f"{registry}/scheduleRun", "2019-06-01-preview", request)


def installation(told: dict[str, str], folder: Path, **more: object) -> Settings:
    """An installation with its state in a folder."""
    return Settings(profile="azure", home=folder, **(told | more))  # type: ignore[arg-type]
