"""Key Vault of the twin, by Azure's own SDK."""

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.resource import ResourceManagementClient

from tests.infra.twin import GROUP, RunningTwin


def test_secrets_of_a_vault_that_exists(azure_twin: RunningTwin) -> None:
    resources = ResourceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    path = (
        f"/subscriptions/{azure_twin.subscription}/resourceGroups/{GROUP}/providers/Microsoft.KeyVault/vaults/kv-mlops"
    )
    resources.resources.begin_create_or_update_by_id(path, "2023-07-01", {"location": "westeurope"}).result()
    secrets = SecretClient("https://kv-mlops.vault.azure.net", DefaultAzureCredential())
    secrets.set_secret("scoring-keys", "one")
    secrets.set_secret("scoring-keys", "two")
    assert secrets.get_secret("scoring-keys").value == "two"
    assert [each.name for each in secrets.list_properties_of_secrets()] == ["scoring-keys"]
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        secrets.get_secret("other")


@pytest.mark.usefixtures("azure_twin")
def test_a_vault_that_does_not_exist() -> None:
    secrets = SecretClient("https://kv-none.vault.azure.net", DefaultAzureCredential())
    with pytest.raises(ResourceNotFoundError, match="no vault 'kv-none'"):
        secrets.get_secret("any")


def test_a_vault_made_anew_is_empty(azure_twin: RunningTwin) -> None:
    vault = f"/subscriptions/{azure_twin.subscription}/resourceGroups/{GROUP}/providers/Microsoft.KeyVault/vaults/kv-a"
    azure_twin.arm("PUT", vault.partition("/providers")[0], "2021-04-01", {"location": "westeurope"})
    secrets = SecretClient("https://kv-a.vault.azure.net", DefaultAzureCredential())
    vaults = KeyVaultManagementClient(DefaultAzureCredential(), azure_twin.subscription).vaults
    found = []
    for name in ("first", "second"):
        azure_twin.arm("PUT", vault, "2023-07-01", {"location": "westeurope"})
        secrets.set_secret(name, "v")
        found.append([each.name for each in secrets.list_properties_of_secrets()])
        azure_twin.arm("DELETE", vault, "2023-07-01")
        vaults.begin_purge_deleted("kv-a", "westeurope").result()
    assert found == [["first"], ["second"]]
