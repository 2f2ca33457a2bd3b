"""What roles allow, and which action a request is."""

import pytest

from infra.azure_twin import actions
from infra.azure_twin.access import Access, is_within, matches, published, role_of
from infra.azure_twin.azure_ml import actions as azure_ml
from infra.azure_twin.errors import AzureError
from infra.azure_twin.resource_ids import ResourceId

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
SCIENTIST = "f6c7c914-8db3-469d-8ca1-694a8f32e121"
OPERATOR = "f1a07417-d97a-45cb-824c-7a7467783830"
SECRETS_USER = "4633458b-17de-408a-b874-0445c86b69e6"
ML = "Microsoft.MachineLearningServices/workspaces"
ACI = "Microsoft.ContainerInstance/containerGroups"
GROUP = "/subscriptions/s/resourceGroups/rg"
WORKSPACE = f"{GROUP}/providers/{ML}/w"


@pytest.mark.parametrize(
    ("pattern", "action", "fits"),
    [
        ("*", f"{ACI}/write", True),
        ("*/read", f"{ACI}/containers/logs/read", True),
        ("*/read", f"{ACI}/write", False),
        (f"{ACI}/*", f"{ACI}/containers/exec/action", True),
        (f"{ACI}/*", "Microsoft.ContainerInstance/containerGroupProfiles/write", False),
        (f"{ACI}/write", "microsoft.containerinstance/CONTAINERGROUPS/Write", True),
        (f"{ML}/*/read", f"{ML}/computes/read", True),
        (f"{ML}/*/read", f"{ML}/read", True),
        (f"{ML}/*/read", f"{ML}x/read", False),
        (f"{ML}/read", f"{ML}/computes/read", False),
    ],
)
def test_a_wildcard_stands_for_any_number_of_parts(pattern: str, action: str, fits: bool) -> None:
    assert matches(pattern, action) is fits


@pytest.mark.parametrize(
    ("role", "action", "data", "allowed"),
    [
        (OWNER, "Microsoft.Authorization/roleAssignments/write", False, True),
        (OWNER, "Microsoft.KeyVault/vaults/secrets/getSecret/action", True, False),
        (CONTRIBUTOR, f"{ACI}/write", False, True),
        (CONTRIBUTOR, "Microsoft.Authorization/roleAssignments/write", False, False),
        (CONTRIBUTOR, "Microsoft.Authorization/roleAssignments/read", False, True),
        (READER, f"{ACI}/delete", False, False),
        (SCIENTIST, f"{ML}/experiments/runs/submit/action", False, True),
        (SCIENTIST, f"{ML}/read", False, True),
        (SCIENTIST, f"{ML}/write", False, False),
        (SCIENTIST, f"{ML}/computes/read", False, True),
        (SCIENTIST, f"{ML}/computes/write", False, False),
        (SCIENTIST, f"{ML}/computes/delete", False, False),
        (OPERATOR, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", False, True),
        (OPERATOR, "Microsoft.ManagedIdentity/userAssignedIdentities/write", False, False),
        (SECRETS_USER, "Microsoft.KeyVault/vaults/secrets/getSecret/action", True, True),
        (SECRETS_USER, "Microsoft.KeyVault/vaults/secrets/setSecret/action", True, False),
        (SECRETS_USER, "Microsoft.KeyVault/vaults/secrets/getSecret/action", False, False),
    ],
)
def test_what_a_built_in_role_allows(role: str, action: str, data: bool, allowed: bool) -> None:
    assert role_of(role).allows(action, data=data) is allowed


def test_not_actions_of_one_role_do_not_take_away_what_another_gives() -> None:
    given: list[dict[str, str]] = []
    access = Access(lambda: given)
    for role in (SCIENTIST, CONTRIBUTOR):
        given.append({"principalId": "p", "roleDefinitionId": f"/x/roleDefinitions/{role}", "scope": GROUP})
    assert access.allows("p", f"{ML}/computes/write", f"{WORKSPACE}/computes/c")
    assert not access.allows("q", f"{ML}/computes/write", f"{WORKSPACE}/computes/c")
    given.clear()
    assert not access.allows("p", f"{ML}/read", WORKSPACE)


@pytest.mark.parametrize(
    ("scope", "outer", "inside"),
    [
        (WORKSPACE, "/subscriptions/s", True),
        (WORKSPACE.upper(), GROUP, True),
        (WORKSPACE, WORKSPACE, True),
        (f"{GROUP}2/providers/{ML}/w", GROUP, False),
        (GROUP, WORKSPACE, False),
        (GROUP, "/", True),
    ],
)
def test_a_scope_holds_for_all_that_is_in_it(scope: str, outer: str, inside: bool) -> None:
    assert is_within(scope, outer) is inside


def test_the_data_say_whence_and_when_they_are() -> None:
    known = published()
    assert known.source.startswith("https://learn.microsoft.com/en-us/azure/role-based-access-control/built-in-roles/")
    assert known.read == "2026-11-27"
    with pytest.raises(AzureError, match="role definition with ID '00000000-0000-0000-0000-000000000000' does not"):
        role_of("/providers/Microsoft.Authorization/roleDefinitions/00000000-0000-0000-0000-000000000000")


def spelled(rid: ResourceId) -> str:
    return "/".join((rid.provider, *rid.types))


@pytest.mark.parametrize(
    ("method", "path", "action", "scope"),
    [
        ("PUT", f"{GROUP}/providers/{ACI}/g", f"{ACI}/write", f"{GROUP}/providers/{ACI}/g"),
        ("GET", f"{GROUP}/providers/{ACI}", f"{ACI}/read", f"{GROUP}/providers/Microsoft.ContainerInstance"),
        ("DELETE", f"{GROUP}/providers/{ACI}/g", f"{ACI}/delete", f"{GROUP}/providers/{ACI}/g"),
        ("POST", f"{GROUP}/providers/{ACI}/g/restart", f"{ACI}/restart/action", f"{GROUP}/providers/{ACI}/g"),
        (
            "POST", f"{GROUP}/providers/{ACI}/g/containers/main/exec", f"{ACI}/containers/exec/action",
            f"{GROUP}/providers/{ACI}/g/containers/main",
        ),
        (
            "GET", f"{GROUP}/providers/{ACI}/g/containers/main/logs", f"{ACI}/containers/logs/read",
            f"{GROUP}/providers/{ACI}/g/containers/main",
        ),
        (
            "PUT", f"{GROUP}/providers/Microsoft.Resources/deployments/d", "Microsoft.Resources/deployments/write",
            f"{GROUP}/providers/Microsoft.Resources/deployments/d",
        ),
        ("HEAD", GROUP, "Microsoft.Resources/subscriptions/resourceGroups/read", GROUP),
        ("DELETE", GROUP, "Microsoft.Resources/subscriptions/resourceGroups/delete", GROUP),
        ("GET", f"{GROUP}/resources", "Microsoft.Resources/subscriptions/resourceGroups/resources/read", GROUP),
        ("GET", "/subscriptions/s", "Microsoft.Resources/subscriptions/read", "/subscriptions/s"),
        (
            "PUT", f"{WORKSPACE}/providers/Microsoft.Authorization/roleAssignments/a",
            "Microsoft.Authorization/roleAssignments/write",
            f"{WORKSPACE}/providers/Microsoft.Authorization/roleAssignments/a",
        ),
        (
            "POST", f"{GROUP}/providers/Microsoft.ContainerRegistry/registries/r/scheduleRun",
            "Microsoft.ContainerRegistry/registries/scheduleRun/action",
            f"{GROUP}/providers/Microsoft.ContainerRegistry/registries/r",
        ),
        ("PUT", f"{WORKSPACE}/computes/c", f"{ML}/computes/write", f"{WORKSPACE}/computes/c"),
        (
            "POST", "/subscriptions/s/providers/Microsoft.ContainerInstance/register",
            "Microsoft.ContainerInstance/register/action", "/subscriptions/s",
        ),
    ],
)  # fmt: skip
def test_a_request_to_resource_manager_is_an_action_on_a_scope(method: str, path: str, action: str, scope: str) -> None:
    asked = actions.asked(method, path, spelled)
    assert (asked.actions, asked.scope) == ((action,), scope)


@pytest.mark.parametrize("path", ["/subscriptions", "/subscriptions/s/resourcegroups"])
def test_lists_of_what_one_may_read_need_no_right(path: str) -> None:
    assert actions.asked("GET", path, spelled).actions == ()


@pytest.mark.parametrize(
    ("method", "path", "first"),
    [
        ("GET", f"/history/v1.0{WORKSPACE}/experiments/iris", "experiments/read"),
        ("POST", f"/history/v1.0{WORKSPACE}/experiments/iris", "experiments/write"),
        ("POST", f"/history/v1.0{WORKSPACE}/experiments/iris/runs:query", "experiments/runs/read"),
        ("GET", f"/history/v1.0{WORKSPACE}/experiments/iris/runs/r/details", "experiments/runs/read"),
        ("PATCH", f"/history/v1.0{WORKSPACE}/experimentids/1/runs/r", "experiments/runs/write"),
        ("POST", f"/metric/v2.0{WORKSPACE}/runs/r/batch", "experiments/runs/write"),
        ("POST", f"/metric/v2.0{WORKSPACE}/runs/r/list", "experiments/runs/read"),
        ("POST", f"/artifact/v2.0{WORKSPACE}/artifacts/batch/metadata/o/c", "metadata/artifacts/write"),
        ("POST", f"/content/v2.0{WORKSPACE}/snapshots/s", "metadata/snapshots/write"),
        ("POST", f"/execution/v1.0{WORKSPACE}/experiments/iris/snapshotrun", "experiments/runs/submit/action"),
        ("POST", f"/execution/v1.0{WORKSPACE}/experiments/iris/runId/r/cancel", "experiments/runs/write"),
        ("GET", f"/datastore/v1.0{WORKSPACE}/default", "datastores/read"),
        ("POST", f"/modelmanagement/v1.0{WORKSPACE}/models", "models/write"),
        ("DELETE", f"/modelmanagement/v1.0{WORKSPACE}/models/m:1", "models/delete"),
    ],
)
def test_a_request_to_a_workspaces_service_is_an_action_on_the_workspace(method: str, path: str, first: str) -> None:
    asked = azure_ml.asked(method, path)
    assert (asked.actions[0], asked.scope) == (f"{ML}/{first}", WORKSPACE)
