"""What the rehearsal waits for before it says that nothing is left, and whose roles it assigns."""

from typing import Any

import pytest
from pycep import BicepParser

from infra.azure_twin.rehearsal import leftovers, roles
from infra.azure_twin.rehearsal.processes import RehearsalError
from infra.azure_twin.rehearsal.roles import Assignment

GROUP = "Microsoft.ContainerInstance/containerGroups"
SCORING = {"type": GROUP, "name": "mlops-iris-prod", "tags": {"mlops-role": "scoring"}}
FLOW_RUN = {"type": GROUP, "name": "release-1", "tags": {"mlops-flow-run": "1"}}
VAULT = {"type": "Microsoft.KeyVault/vaults", "name": "kv"}


class Subscription:
    """What a group holds and how many nodes its cluster has, look after look; the last look lasts."""

    def __init__(self, *looks: tuple[list[dict[str, Any]], int]) -> None:
        self.looks = list(looks)

    def resources(self) -> list[dict[str, Any]]:
        return self.looks[0][0]

    def clusters(self) -> list[dict[str, Any]]:
        (_, nodes), *later = self.looks
        self.looks = later or self.looks
        counts = {"currentNodeCount": nodes, "targetNodeCount": nodes}
        return [{"name": "iriscompute", "properties": {"properties": counts}}]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "POLL_SECONDS", 0.0)


def test_it_waits_until_workers_have_deleted_groups_and_nodes_are_gone() -> None:
    azure = Subscription(([SCORING, FLOW_RUN], 1), ([SCORING], 1), ([SCORING, VAULT], 0))
    leftovers.await_settled(azure, 60)  # type: ignore[arg-type]  # A stand-in of two methods.
    assert leftovers.of_flow_runs(azure) == []  # type: ignore[arg-type]


def test_what_stays_is_named() -> None:
    azure = Subscription(([SCORING, FLOW_RUN, VAULT], 2))
    with pytest.raises(RehearsalError, match=r"container group release-1, 2 nodes of the cluster iriscompute$"):
        leftovers.await_settled(azure, 0.01)  # type: ignore[arg-type]


def bicep_roles() -> set[Assignment]:
    """The assignments of roles.bicep, by Bicep's grammar: each resource's loop, its scope and its role."""
    tree = BicepParser().parse(text=roles.FILE.read_text("utf-8"))
    variables = {name: each["value"] for name, each in tree["variables"].items()}
    found: set[Assignment] = set()
    for name, resource in tree["resources"].items():
        if resource["type"] != "Microsoft.Authorization/roleAssignments":
            continue
        on = resource["config"]["loop_type"]["detail"]["array_name"]
        body = resource["config"]["config"]
        assert SCOPES[on] == scope_of(body.get("scope")), name
        told = body["properties"]
        assert member(told["roleDefinitionId"]["function"]["parameters"]["resource_name_1"]) == ("each", "role"), name
        who = told["principalId"]["operator"]["operands"]
        assert (who["operand_1"], member(who["operand_2"])) == ("principals", ("each", "who")), name
        for each in variables.pop(on):
            role = variables["role"][member(each["role"])[1]]
            place = each.get("container") or (member(each["identity"])[1] if "identity" in each else "")
            found.add(Assignment(each["who"], role, on, place))
    assert set(variables) == {"role", "scoringWrites"}, "a list that no resource uses"
    return found


SCOPES = {
    "onStore": "containers", "onRegistry": "registry", "onVault": "vault", "onDatabases": "databases",
    "onWorkspace": "workspace", "onGroup": "", "onIdentities": "identities",
}  # fmt: skip
"""The symbolic name of what each list's assignments are on; the resource group has none."""


def scope_of(scope: Any) -> str:
    """The symbolic name of a resource's scope, of one of several, too."""
    return scope["operator"]["operands"]["operand_1"] if isinstance(scope, dict) else scope or ""


def member(value: Any) -> tuple[str, str]:
    operands = value["operator"]["operands"]
    return operands["operand_1"], operands["operand_2"]


def test_the_rehearsals_assignments_are_those_of_the_bicep_file() -> None:
    read = roles.read(roles.FILE.read_text("utf-8"))
    assert set(read) == bicep_roles()
    assert len(read) == len(set(read))


def test_a_line_that_cannot_be_read_is_no_line_that_is_left_out() -> None:
    text = roles.FILE.read_text("utf-8")
    with pytest.raises(RehearsalError, match="no assignment in the list onGroup: 'flows'"):
        roles.read(text.replace("{ who: 'flows', role: role.containerInstancesContributor }", "'flows'"))
    with pytest.raises(RehearsalError, match="no assignment in the list onMoon"):
        roles.read(text.replace("var onGroup", "var onMoon"))


def test_the_documentation_has_the_same_roles() -> None:
    """Its table, row by row: who, the role's id, on what."""
    page = (roles.FILE.parents[3] / "docs" / "azure.md").read_text("utf-8")
    places = {
        "registry": ("onRegistry", ""), "container `mlops`": ("onStore", "mlops"),
        "container `mlflow`": ("onStore", "mlflow"), "vault": ("onVault", ""),
        "vault of the databases": ("onDatabases", ""), "workspace": ("onWorkspace", ""),
        "resource group": ("onGroup", ""), "scoring's identity": ("onIdentities", "scoring"),
        "flows' identity": ("onIdentities", "flows"),
    }  # fmt: skip
    found: set[Assignment] = set()
    table = page.partition("| who | role | on | what for |\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[1:]:
        who, role, on, _ = (cell.strip() for cell in line.strip("|").split("|"))
        if role != "the same":
            current = role.split("`")[1]
        found |= {Assignment(each, current, *places[on]) for each in who.split(", ")}
    assert found == set(roles.read(roles.FILE.read_text("utf-8")))
