"""A workspace in the twin, as Bicep or the flow ``provision`` would have made it."""

from tests.infra.twin import GROUP, RunningTwin

REGION = "westeurope"


def make_workspace(twin: RunningTwin, name: str = "mlw") -> str:
    """Make a workspace with all that it needs; return its id."""
    from azure.mgmt.resource import ResourceManagementClient

    from mlops.adapters.azure_auth import credential
    from mlops.settings import load

    client = ResourceManagementClient(credential(load()), twin.subscription)
    client.resource_groups.create_or_update(GROUP, {"location": REGION})
    base = f"/subscriptions/{twin.subscription}/resourceGroups/{GROUP}/providers"

    def put(path: str, version: str, **body: object) -> str:
        made = client.resources.begin_create_or_update_by_id(
            f"{base}/{path}", version, {"location": REGION, **body}, polling_interval=0.1
        ).result()
        return str(made.id)

    storage = put("Microsoft.Storage/storageAccounts/stmlops", "2023-05-01", kind="StorageV2")
    tenant = twin.environment["AZURE_TENANT_ID"]
    vault = put("Microsoft.KeyVault/vaults/kv-mlops", "2023-07-01", properties={"tenantId": tenant})
    properties = {"storageAccount": storage, "keyVault": vault}
    return put(f"Microsoft.MachineLearningServices/workspaces/{name}", "2024-04-01", properties=properties)
