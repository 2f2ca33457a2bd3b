"""Each role of infra/bicep/modules/roles.bicep: with it its owner may do its work, without it Azure refuses."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from infra.azure_twin.rehearsal import landing_zone, roles
from infra.azure_twin.rehearsal.landing_zone import (
    DATABASES_VAULT,
    DATABASES_VAULT_URL,
    REGISTRY,
    VAULT,
    VAULT_URL,
    WORKSPACE,
    Subscription,
)
from infra.azure_twin.rehearsal.roles import Assignment
from tests.infra.principals import Principal, group_of
from tests.infra.twin import RunningTwin

ALL = roles.read(roles.FILE.read_text("utf-8"))
ENFORCED = [each for each in ALL if each.on != "onStore"]
"""Blobs are Azurite's, which knows no roles."""
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
ACI = "Microsoft.ContainerInstance/containerGroups"
ML = "Microsoft.MachineLearningServices/workspaces"
DEPLOYMENT = "Microsoft.Resources/deployments/least"


class World:
    """A subscription as infra/bicep leaves it."""

    def __init__(self, twin: RunningTwin) -> None:
        self.twin = twin
        self.azure = Subscription(twin.environment)
        landing_zone.prepare(self.azure)
        self.who = {who: Principal(twin, landing_zone.identity(self.azure, who)) for who in landing_zone.WHO}

    def group(self, runs_as: str, pulls_as: str = "") -> dict[str, Any]:
        """A container group that ends at once, under an identity and perhaps with an image of the registry."""
        identity = landing_zone.identity(self.azure, runs_as)
        container = {
            "image": f"{REGISTRY}.azurecr.io/mlops-flows:latest" if pulls_as else "python:3.11-slim",
            "command": ["python", "-c", "pass"],
            "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
        }
        properties = {"containers": [{"name": "main", "properties": container}], "osType": "Linux"}
        if pulls_as:
            puller = landing_zone.identity(self.azure, pulls_as)
            properties["imageRegistryCredentials"] = [{"server": f"{REGISTRY}.azurecr.io", "identity": puller}]
        return {
            "location": "westeurope",
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}},
            "properties": properties | {"restartPolicy": "Never"},
        }

    def make_group(self, asking: Callable[..., httpx.Response], body: dict[str, Any]) -> str:
        """PUT a container group, follow how it goes on, and remove it; return what was refused, empty for nothing."""
        path = f"{group_of(self.twin)}/providers/{ACI}/least"
        answer = asking("PUT", path, "2023-05-01", body)
        if answer.status_code >= 400:
            return f"{answer.json()['error']['code']}: {answer.json()['error']['message']}"
        followed = asking("GET", urlsplit(answer.headers["Azure-AsyncOperation"]).path, "2023-05-01", None)
        self.twin.wait_for(lambda: self.provisioned(path))
        self.twin.arm("DELETE", path, "2023-05-01")
        self.twin.wait_for_groups([])
        return refused(followed)

    def delete_group(self, principal: Principal) -> str:
        """DELETE a container group and follow how that goes on; return what was refused, empty for nothing."""
        path = f"{group_of(self.twin)}/providers/{ACI}/least"
        self.azure.call("PUT", path, "2023-05-01", self.group("scoring"))
        self.twin.wait_for(lambda: self.provisioned(path))
        answer = principal.arm("DELETE", path, "2023-05-01")
        followed = principal.arm("GET", urlsplit(answer.headers["Azure-AsyncOperation"]).path, "2023-05-01")
        self.twin.wait_for_groups([])
        return refused(followed)

    def provisioned(self, path: str) -> bool:
        found = self.twin.arm("GET", path, "2023-05-01").json()["properties"]["provisioningState"]
        return str(found) in ("Succeeded", "Failed")

    def deploy(self, principal: Principal, body: dict[str, Any]) -> str:
        """Deploy a template with a container group, as the worker does; return what was refused."""
        resource = {"type": ACI, "apiVersion": "2023-05-01", "name": "least", **body}
        properties = {"mode": "Incremental", "template": {"resources": [resource]}, "parameters": {}}
        path = f"{group_of(self.twin)}/providers/{DEPLOYMENT}"
        answer = principal.arm("PUT", path, "2022-09-01", {"properties": properties})
        if answer.status_code >= 400:
            return f"{answer.json()['error']['code']}: {answer.json()['error']['message']}"
        while (found := principal.arm("GET", path, "2022-09-01").json()["properties"])["provisioningState"] not in (
            "Succeeded", "Failed",
        ):  # fmt: skip
            time.sleep(0.1)
        if found["provisioningState"] == "Failed":
            (detail,) = found["error"]["details"]
            return f"{detail['code']}: {detail['message']}"
        self.twin.arm("DELETE", f"{group_of(self.twin)}/providers/{ACI}/least", "2023-05-01")
        self.twin.wait_for_groups([])
        return ""

    def work(self, assignment: Assignment) -> str:
        """What the role is for; return what was refused, empty when nothing was."""
        principal = self.who[assignment.who]
        vault = DATABASES_VAULT_URL if assignment.on == "onDatabases" else VAULT_URL
        secret = f"{vault}/secrets/least"
        match assignment.on, assignment.who:
            case "onRegistry", who:
                return self.make_group(self.owner, self.group("scoring", pulls_as=who))
            case "onVault", "flows":
                return refused(principal.ask("PUT", secret, "7.4", {"value": "v"}))
            case "onVault" | "onDatabases", _:
                return refused(principal.ask("GET", secret, "7.4"))
            case "onWorkspace", _:
                path = f"{group_of(self.twin)}/providers/{ML}/{WORKSPACE}"
                plane = f"https://westeurope.api.azureml.ms/history/v1.0{path}/experiments/least"
                return refused(principal.ask("POST", plane)) or refused(principal.arm("GET", path, "2024-04-01"))
            case "onGroup" | "onIdentities", "flows":
                return self.make_group(principal.arm, self.group("scoring"))
            case "onGroup", "worker" if assignment.role == READER:
                return self.delete_group(principal)
            case "onGroup" | "onIdentities", "worker":
                return self.deploy(principal, self.group("flows"))
        raise AssertionError(f"nothing is tried for {assignment}")

    def owner(self, method: str, path: str, version: str, body: Any) -> httpx.Response:
        """Ask as the subscription's owner, whatever the answer."""
        return self.azure.ask(method, path, version, body)

    def refusal(self, each: Assignment) -> str:
        """What Azure says where an assignment is missing."""
        principal = self.who[each.who]
        caller = f"The client '{principal.client}' with object id '{principal.object}'"
        group, linked = group_of(self.twin), landing_zone.identity(self.azure, each.name or "x")
        match each.on, each.who:
            case "onGroup", _ if each.role == READER:
                action = "Microsoft.ContainerInstance/locations/operations/read"
                return f"AuthorizationFailed: {unauthorised(caller, action, group)}"
            case "onRegistry", _:
                image = f"{REGISTRY}.azurecr.io/mlops-flows:latest"
                return f"InaccessibleImage: The image '{image}' in container group 'least' is not accessible."
            case "onVault" | "onDatabases", who:
                action = "setSecret" if who == "flows" else "getSecret"
                return (
                    "Forbidden: Caller is not authorized to perform action on resource. If role assignments, deny "
                    "assignments or role definitions were changed recently, please observe propagation time. Caller: "
                    f"appid={principal.client};oid={principal.object};"
                    f"iss=https://sts.windows.net/{self.twin.environment['AZURE_TENANT_ID']}/ Action: "
                    f"'Microsoft.KeyVault/vaults/secrets/{action}/action'"
                )
            case "onWorkspace", _:
                action, scope = f"{ML}/experiments/write", f"{group}/providers/{ML}/{WORKSPACE}"
                return f"AuthorizationFailed: {unauthorised(caller, action, scope)}"
            case "onGroup", "flows":
                scope = f"{group}/providers/{ACI}/least"
                return f"AuthorizationFailed: {unauthorised(caller, f'{ACI}/write', scope)}"
            case "onGroup", _:
                action, scope = "Microsoft.Resources/deployments/write", f"{group}/providers/{DEPLOYMENT}"
                return f"AuthorizationFailed: {unauthorised(caller, action, scope)}"
        assign = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
        return (
            f"LinkedAuthorizationFailed: {caller} has permission to perform action '{ACI}/write' on scope "
            f"'{group}/providers/{ACI}/least'; however, it does not have permission to perform action '{assign}' on "
            f"the linked scope(s) '{linked}' or the linked scope(s) are invalid."
        )


def unauthorised(caller: str, action: str, scope: str) -> str:
    return (
        f"{caller} does not have authorization to perform action '{action}' over scope '{scope}' or the scope is "
        "invalid. If access was recently granted, please refresh your credentials."
    )


def refused(answer: httpx.Response) -> str:
    """Code and words of a refusal on one line; empty when there is none."""
    if answer.status_code != 403:
        assert answer.status_code < 500, answer.text
        return ""
    error = answer.json()["error"]
    code = error["innerError"]["code"] if "innerError" in error else error["code"]
    return f"{code}: {' '.join(error['message'].split())}"


@pytest.fixture(scope="module")
def world(azure_twin_session: RunningTwin) -> Iterator[World]:
    azure_twin_session.reset()
    yield World(azure_twin_session)
    azure_twin_session.reset()


@pytest.mark.parametrize("assignment", ENFORCED, ids=lambda each: f"{each.who}-{each.on}-{each.role[:4]}")
def test_with_a_role_its_work_is_done_and_without_it_refused_in_azures_words(
    world: World, assignment: Assignment
) -> None:
    assert world.work(assignment) == ""
    vaults = {"onVault": VAULT, "onDatabases": DATABASES_VAULT}
    world.who[assignment.who].lose(assignment.role, vaults.get(assignment.on, ""))
    if assignment.on == "onRegistry" and assignment.who in ("flows", "worker"):
        world.who[assignment.who].lose(READER)  # By which one may pull, too.
    try:
        assert world.work(assignment).startswith(world.refusal(assignment))
    finally:
        landing_zone.prepare(world.azure)
    assert world.work(assignment) == ""


def test_preparing_again_changes_no_assignment(world: World) -> None:
    before = {each["id"] for each in world.twin.resources("roleAssignments")}
    landing_zone.prepare(world.azure)
    assert {each["id"] for each in world.twin.resources("roleAssignments")} == before
    assert len(before) == len(ALL)
