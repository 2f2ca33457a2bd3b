"""Names of deleted vaults and workspaces stay taken until they are purged, by Azure's own SDKs."""

from datetime import timedelta

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.resource import ResourceManagementClient

from infra.azure_twin.access import role_of
from infra.azure_twin.actions import asked
from tests.infra.twin import GROUP, RunningTwin
from tests.infra.workspace import make_workspace

VAULT = "Microsoft.KeyVault/vaults/kv-mlops"
WORKSPACE = "Microsoft.MachineLearningServices/workspaces/mlw"
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


class Azure:
    """A subscription by Azure's SDKs."""

    def __init__(self, twin: RunningTwin) -> None:
        self.subscription = twin.subscription
        credential = DefaultAzureCredential()
        self.resources = ResourceManagementClient(credential, twin.subscription, polling_interval=0.1)
        self.vaults = KeyVaultManagementClient(credential, twin.subscription, polling_interval=0.1).vaults

    def make_group(self, name: str) -> None:
        self.resources.resource_groups.create_or_update(name, {"location": "westeurope"})

    def make_vault(self, group: str, **properties: object) -> None:
        body = {"location": "westeurope", "tags": {"a": "b"}, "properties": properties}
        self.resources.resources.begin_create_or_update_by_id(self.id(group, VAULT), "2023-07-01", body).result()

    def delete_vault(self) -> None:
        self.resources.resources.begin_delete_by_id(self.id(GROUP, VAULT), "2023-07-01").result()

    def id(self, group: str, path: str) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}/providers/{path}"


@pytest.fixture
def azure(azure_twin: RunningTwin) -> Azure:
    made = Azure(azure_twin)
    made.make_group(GROUP)
    made.make_group("rg-other")
    return made


@pytest.mark.parametrize("group", [GROUP, "rg-other"])
def test_the_name_of_a_deleted_vault_is_taken_in_the_whole_subscription(azure: Azure, group: str) -> None:
    azure.make_vault(GROUP)
    azure.delete_vault()
    (shown,) = azure.vaults.list_deleted()
    assert (shown.name, shown.properties.location, shown.properties.tags) == ("kv-mlops", "westeurope", {"a": "b"})
    assert shown.properties.vault_id == azure.id(GROUP, VAULT)
    assert shown.properties.scheduled_purge_date - shown.properties.deletion_date == timedelta(days=90)
    assert azure.vaults.get_deleted("kv-mlops", "westeurope").id == shown.id
    with pytest.raises(HttpResponseError, match="ConflictError") as refused:
        azure.make_vault(group)
    assert refused.value.status_code == 409
    azure.vaults.begin_purge_deleted("kv-mlops", "westeurope").result()
    assert list(azure.vaults.list_deleted()) == []
    azure.make_vault(group)


def test_a_protected_vault_stays_and_another_is_not_found(azure: Azure) -> None:
    azure.make_vault(GROUP, enablePurgeProtection=True, softDeleteRetentionInDays=7)
    azure.delete_vault()
    shown = azure.vaults.get_deleted("kv-mlops", "westeurope").properties
    assert shown.purge_protection_enabled
    assert shown.scheduled_purge_date - shown.deletion_date == timedelta(days=7)
    with pytest.raises(HttpResponseError, match="MethodNotAllowed"):
        azure.vaults.begin_purge_deleted("kv-mlops", "westeurope").result()
    with pytest.raises(ResourceNotFoundError, match="DeletedVaultNotFound"):
        azure.vaults.begin_purge_deleted("kv-mlops", "northeurope").result()


def test_a_deleted_group_keeps_the_names_of_its_vaults_and_workspaces(azure_twin: RunningTwin, azure: Azure) -> None:
    make_workspace(azure_twin)
    azure.resources.resource_groups.begin_delete(GROUP).result()
    assert [each.name for each in azure.vaults.list_deleted()] == ["kv-mlops"]
    with pytest.raises(HttpResponseError, match="already exists in deleted state"):
        make_workspace(azure_twin)
    azure.vaults.begin_purge_deleted("kv-mlops", "westeurope").result()
    with pytest.raises(HttpResponseError, match="Soft-deleted workspace exists"):
        make_workspace(azure_twin)
    for _ in range(2):
        purge = azure.resources.resources.begin_delete_by_id(
            azure.id(GROUP, WORKSPACE), "2024-04-01", params={"forceToPurge": "true"}
        )
        purge.result()
        make_workspace(azure_twin)


def test_a_reset_is_another_subscription(azure_twin: RunningTwin, azure: Azure) -> None:
    make_workspace(azure_twin)
    azure_twin.reset()
    assert list(azure.vaults.list_deleted()) == []
    make_workspace(azure_twin)


def test_purging_is_an_action_of_its_own_on_the_subscription() -> None:
    path = "/subscriptions/s/providers/Microsoft.KeyVault/locations/westeurope/deletedVaults/kv"
    wanted = asked("POST", f"{path}/purge", lambda rid: "/".join((rid.provider, *rid.types)))
    assert wanted.actions == ("Microsoft.KeyVault/locations/deletedVaults/purge/action",)
    assert wanted.scope == path
    assert role_of(CONTRIBUTOR).allows(wanted.actions[0])
    assert not role_of(READER).allows(wanted.actions[0])
