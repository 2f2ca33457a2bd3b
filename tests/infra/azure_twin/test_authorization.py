"""Requests to the twin by principals with few roles: what is inherited, linked, listed, given and taken away."""

import uuid
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.resource import ResourceManagementClient

from infra.azure_twin.rehearsal.landing_zone import Subscription
from tests.infra.principals import Principal, group_of, make_identity
from tests.infra.twin import GROUP, RunningTwin

ACI = "Microsoft.ContainerInstance/containerGroups"
ACI_CONTRIBUTOR = "5d977122-f97e-4b4d-a52f-6b43003ddb4d"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
OPERATOR = "f1a07417-d97a-45cb-824c-7a7467783830"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"


@pytest.fixture
def someone(azure_twin: RunningTwin) -> Principal:
    return make_identity(azure_twin, "someone")


def container_group(seconds: float = 0) -> dict[str, Any]:
    container = {
        "image": "python:3.11-slim",
        "command": ["python", "-c", f"import time; time.sleep({seconds})"],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
    }
    properties = {"containers": [{"name": "main", "properties": container}], "osType": "Linux"}
    return {"location": "westeurope", "properties": properties | {"restartPolicy": "Never"}}


def test_a_right_is_inherited_from_the_scope_above_and_gone_with_its_assignment(someone: Principal) -> None:
    path = f"{group_of(someone.twin)}/providers/{ACI}/inner"
    before = someone.arm("PUT", path, "2023-05-01", container_group())
    assert (before.status_code, before.json()["error"]["code"]) == (403, "AuthorizationFailed")
    assert f"perform action '{ACI}/write' over scope '{path}'" in before.json()["error"]["message"]
    given = someone.grant(ACI_CONTRIBUTOR, group_of(someone.twin))
    assert someone.arm("PUT", path, "2023-05-01", container_group()).status_code == 201
    someone.twin.arm("DELETE", given, "2022-04-01")
    assert someone.arm("GET", path, "2023-05-01").status_code == 403
    someone.grant(READER, f"/subscriptions/{someone.twin.subscription}")
    assert someone.arm("GET", path, "2023-05-01").status_code == 200
    assert someone.arm("DELETE", path, "2023-05-01").status_code == 403


def test_a_right_on_one_resource_is_none_on_its_neighbour(someone: Principal) -> None:
    one, other = (f"{group_of(someone.twin)}/providers/{ACI}/{name}" for name in ("one", "other"))
    someone.grant(ACI_CONTRIBUTOR, one)
    assert someone.arm("PUT", one, "2023-05-01", container_group()).status_code == 201
    assert someone.arm("PUT", other, "2023-05-01", container_group()).status_code == 403


def test_whoever_may_deploy_may_not_deploy_what_he_may_not_make(someone: Principal) -> None:
    someone.grant(OPERATOR, group_of(someone.twin))  # Has deployments, and no container groups.
    resource = {"type": ACI, "apiVersion": "2023-05-01", "name": "inner", **container_group()}
    path = f"{group_of(someone.twin)}/providers/Microsoft.Resources/deployments/d"
    body = {"properties": {"mode": "Incremental", "template": {"resources": [resource]}, "parameters": {}}}
    answer = someone.arm("PUT", path, "2022-09-01", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidTemplateDeployment")
    assert answer.json()["error"]["message"] == (
        f"The template deployment failed with error: 'Authorization failed for template resource 'inner' of type "
        f"'{ACI}'. The client '{someone.client}' with object id '{someone.object}' does not have permission to perform "
        f"action '{ACI}/write' at scope '{group_of(someone.twin)}/providers/{ACI}/inner'.'."
    )
    assert someone.twin.groups() == []


def test_lists_show_what_one_may_read_and_a_list_of_all_resources_needs_its_own_right(someone: Principal) -> None:
    root = f"/subscriptions/{someone.twin.subscription}"
    assert someone.arm("GET", f"{root}/resourcegroups", "2021-04-01").json()["value"] == []
    someone.grant(ACI_CONTRIBUTOR, group_of(someone.twin))
    groups = someone.arm("GET", f"{root}/resourcegroups", "2021-04-01").json()["value"]
    assert [each["name"] for each in groups] == [GROUP]
    assert someone.arm("GET", f"{group_of(someone.twin)}/providers/{ACI}", "2023-05-01").status_code == 200
    refused = someone.arm("GET", f"{group_of(someone.twin)}/resources", "2021-04-01")
    assert "Microsoft.Resources/subscriptions/resourceGroups/resources/read" in refused.json()["error"]["message"]


def test_who_may_do_everything_else_may_assign_no_role(someone: Principal) -> None:
    someone.grant(CONTRIBUTOR, group_of(someone.twin))
    role = f"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}"
    body = {"properties": {"principalId": someone.object, "roleDefinitionId": role}}
    path = f"{group_of(someone.twin)}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    refused = someone.arm("PUT", path, "2022-04-01", body)
    assert "'Microsoft.Authorization/roleAssignments/write'" in refused.json()["error"]["message"]


def test_an_assignment_exists_once_and_never_changes(someone: Principal) -> None:
    given = someone.grant(READER, group_of(someone.twin))
    owner = Subscription(someone.twin.environment)

    def put(name: str, role: str) -> tuple[int, str]:
        definition = f"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/{role}"
        answer = owner.ask(
            "PUT",
            f"{group_of(someone.twin)}/providers/Microsoft.Authorization/roleAssignments/{name}",
            "2022-04-01",
            {"properties": {"principalId": someone.object, "roleDefinitionId": definition}},
        )
        return answer.status_code, answer.json().get("error", {}).get("code", "")

    known = someone.twin.arm("GET", given, "2022-04-01").json()["properties"]["roleDefinitionId"]
    same = owner.ask(
        "PUT", given, "2022-04-01", {"properties": {"principalId": someone.object, "roleDefinitionId": known}}
    )
    assert same.status_code == 200
    twice = {"properties": {"principalId": someone.object, "roleDefinitionId": known}}
    other = f"{given.rpartition('/')[0]}/{uuid.uuid4()}"
    refused = owner.ask("PUT", other, "2022-04-01", twice)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "RoleAssignmentExists")
    assert put(given.rpartition("/")[2], CONTRIBUTOR) == (400, "RoleAssignmentUpdateNotPermitted")
    assert put(str(uuid.uuid4()), str(uuid.uuid4())) == (400, "RoleDefinitionDoesNotExist")


def test_a_secret_is_read_by_its_user_and_not_by_the_owner_of_a_vault(someone: Principal) -> None:
    vault = f"{group_of(someone.twin)}/providers/Microsoft.KeyVault/vaults/kv-roles"
    someone.twin.arm("PUT", vault, "2023-07-01", {"location": "westeurope"})
    with DefaultAzureCredential() as owner, SecretClient("https://kv-roles.vault.azure.net", owner) as secrets:
        secrets.set_secret("s", "v")
    someone.grant("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", vault)
    url = "https://kv-roles.vault.azure.net/secrets/s"
    error = someone.ask("GET", url, "7.4").json()["error"]
    assert (error["code"], error["innererror"]["code"]) == ("Forbidden", "ForbiddenByRbac")
    assert f"Resource: '{vault.lower()}/secrets/s'" in error["message"]
    assert error["message"].endswith("Vault: kv-roles;location=westeurope\r\n")
    someone.grant(SECRETS_USER, vault)
    assert someone.ask("GET", url, "7.4").json()["value"] == "v"
    assert someone.ask("PUT", url, "7.4", {"value": "w"}).status_code == 403


def test_a_cluster_is_given_an_identity_by_whom_may_assign_it(someone: Principal) -> None:
    from tests.infra.workspace import make_workspace

    workspace = make_workspace(someone.twin)  # type: ignore[arg-type]  # It is a running one.
    someone.grant(CONTRIBUTOR, workspace)
    body = {
        "location": "westeurope",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {someone.resource: {}}},
        "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_DS2_V2"}},
    }
    refused = someone.arm("PUT", f"{workspace}/computes/cpu1", "2024-04-01", body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "LinkedAuthorizationFailed")
    someone.grant(OPERATOR, someone.resource)
    assert someone.arm("PUT", f"{workspace}/computes/cpu1", "2024-04-01", body).status_code == 201


def test_the_fault_says_who_was_refused_what(azure_twin: RunningTwin) -> None:
    resources = ResourceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    azure_twin.fail("forbidden", match=GROUP)
    client = azure_twin.environment["AZURE_CLIENT_ID"]
    with pytest.raises(HttpResponseError) as refused:
        resources.resource_groups.get(GROUP)
    words = str(refused.value)
    assert f"The client '{client}' with object id '" in words
    assert "with object id ''" not in words
    action = "Microsoft.Resources/subscriptions/resourceGroups/read"
    assert f"perform action '{action}' over scope '/subscriptions/{azure_twin.subscription}/resource" in words


def test_a_group_that_is_being_deleted_cannot_be_made_anew_until_it_is_gone(azure_twin: RunningTwin) -> None:
    make_identity(azure_twin, "any")
    client = ContainerInstanceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    client.container_groups.begin_create_or_update(GROUP, "leaving", container_group(60)).result()
    azure_twin.fail("slow delete", match="leaving", seconds=10)
    deleting = client.container_groups.begin_delete(GROUP, "leaving")
    with pytest.raises(HttpResponseError, match="'leaving' is still transitioning, please retry later") as refused:
        client.container_groups.begin_create_or_update(GROUP, "leaving", container_group())
    assert refused.value.status_code == 409
    deleting.result()
    client.container_groups.begin_create_or_update(GROUP, "leaving", container_group()).result()
    azure_twin.fail("delete fails", match="leaving")
    with pytest.raises(HttpResponseError, match="internal server error"):
        client.container_groups.begin_delete(GROUP, "leaving").result()
    client.container_groups.begin_create_or_update(GROUP, "leaving", container_group()).result()
