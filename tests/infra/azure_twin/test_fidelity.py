"""What clients send and what the twin answers, against Microsoft's published schemas of the resource type."""

import copy
import json
from typing import Any

import jsonschema
import pytest
from azure.mgmt.containerinstance import ContainerInstanceManagementClient

from tests.infra.schemas import check
from tests.infra.twin import GROUP, RunningTwin

VERSIONS = ["2023-05-01", "2025-09-01"]
# What Azure adds to its answers and no one may send.
READ_ONLY = {
    "": ("id",),
    "properties": ("provisioningState", "instanceView"),
    "container": ("instanceView",),
    "ipAddress": ("fqdn",),
    "identity": ("principalId", "tenantId"),
}


def as_sent(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what is read-only, and without the marks of secrets that Azure leaves behind."""
    body = copy.deepcopy(answer)
    properties = body["properties"]
    parts = {
        "": [body],
        "properties": [properties],
        "container": [each["properties"] for each in properties["containers"]],
        "ipAddress": [properties.get("ipAddress", {})],
        "identity": [body.get("identity", {})],
    }
    for kind, names in READ_ONLY.items():
        for part in parts[kind]:
            for name in names:
                part.pop(name, None)
    for identity in body.get("identity", {}).get("userAssignedIdentities", {}).values():
        identity.clear()
    return body


def full_group(twin: RunningTwin) -> dict[str, Any]:
    """A group with everything that this system uses."""
    identity = (
        f"/subscriptions/{twin.subscription}/resourceGroups/{GROUP}/providers/Microsoft.ManagedIdentity"
        "/userAssignedIdentities/id-mlops"
    )
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "http"}, "periodSeconds": 10}
    container = {
        "image": "python:3.11-slim",
        "command": ["python", "-c", "import time; time.sleep(60)"],
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "environmentVariables": [{"name": "A", "value": "b"}, {"name": "KEY", "secureValue": "s3cret-value"}],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1.5}},
        "volumeMounts": [{"name": "keys", "mountPath": "/run/secrets", "readOnly": True}],
        "readinessProbe": probe,
        "livenessProbe": {**probe, "initialDelaySeconds": 60},
    }
    return {
        "location": "westeurope",
        "tags": {"mlops-role": "scoring"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
        "properties": {
            "containers": [{"name": "scoring", "properties": container}],
            "osType": "Linux",
            "restartPolicy": "Always",
            "ipAddress": {
                "type": "Public",
                "ports": [{"port": 8080, "protocol": "TCP"}],
                "dnsNameLabel": "fidelity",
            },
            "volumes": [{"name": "keys", "secret": {"scoring-keys": "czNjcmV0LWZpbGU="}}],
        },
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_and_answers_are_container_groups_to_microsofts_schema(
    azure_twin: RunningTwin, client: ContainerInstanceManagementClient, version: str
) -> None:
    client.container_groups.begin_create_or_update(GROUP, "fidelity", full_group(azure_twin)).result()
    client.container_groups.get(GROUP, "fidelity")
    path = "/containerGroups/fidelity"
    (put,) = azure_twin.exchanges("PUT", path)
    check({"name": "fidelity", **put["request"]}, version)
    answers = [put, *azure_twin.exchanges("GET", path)]
    assert len(answers) >= 2
    for answer in answers:
        check(as_sent(answer["response"]), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_schema_refuses_what_is_no_container_group(azure_twin: RunningTwin, version: str) -> None:
    wrong = full_group(azure_twin)
    wrong["properties"]["containers"][0]["properties"]["resources"] = {"requests": {"cpu": 1}}
    with pytest.raises(jsonschema.ValidationError):
        check({"name": "fidelity", **wrong}, version)


def test_secrets_are_in_no_answer(azure_twin: RunningTwin, client: ContainerInstanceManagementClient) -> None:
    client.container_groups.begin_create_or_update(GROUP, "fidelity", full_group(azure_twin)).result()
    client.container_groups.get(GROUP, "fidelity")
    list(client.container_groups.list())
    answers = json.dumps([each["response"] for each in azure_twin.exchanges()])
    assert "fidelity" in answers
    assert "s3cret-value" not in answers
    assert "czNjcmV0LWZpbGU=" not in answers


def test_long_running_operations_tell_how_to_follow_them(
    azure_twin: RunningTwin, client: ContainerInstanceManagementClient
) -> None:
    client.container_groups.begin_create_or_update(GROUP, "fidelity", full_group(azure_twin)).result()
    client.container_groups.begin_delete(GROUP, "fidelity").result()
    (put,) = azure_twin.exchanges("PUT", "/containerGroups/fidelity")
    (delete,) = azure_twin.exchanges("DELETE", "/containerGroups/fidelity")
    assert (put["status"], delete["status"]) == (201, 202)
    assert put["response"]["properties"]["provisioningState"] == "Pending"
    for each in (put, delete):
        assert each["response_headers"]["retry-after"] == "1"
        assert each["response_headers"]["azure-asyncoperation"].startswith(
            "https://management.azure.com/subscriptions/"
        )
    states = [each["response"]["status"] for each in azure_twin.exchanges("GET", "/operations/")]
    assert states[-1] == "Succeeded"
