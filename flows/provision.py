"""The build pipeline's Azure: resource group, workspace, compute, data; made unless it is there."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.cli import run
from mlops.core.provisioning import Plan
from tasks.context import open_model
from tasks.provision import (
    VAULT_PREFIX,
    VAULT_TYPE,
    destroy_group,
    ensure_component,
    ensure_compute,
    ensure_group,
    ensure_workspace,
    needs_of_workspace,
    plan_from_variables,
    purge_vaults,
    purge_workspaces,
    register_dataset,
    show_components,
    tenant_of_subscription,
    upload_data,
    vaults_to_purge,
)


@flow(name="provision", flow_run_name="provision {model}", log_prints=True)
def provision(model: str, variables: str | None = None, destroy: bool = False) -> Any:
    """Make the workspace of a model's build pipeline from the variable library; run again, it changes nothing.

    Args:
        model: the name of a spec in deployments/models.
        variables: a YAML file of the variable library (ml.computeName and so on); the environment wins over it.
        destroy: delete the resource group with all that is in it, for good, if this flow made it.
    """
    if not open_model(model).settings.azure_subscription:
        return Completed(message="no Azure subscription is configured (azure_subscription): nothing to provision")
    wanted = plan_from_variables(model, variables)
    if destroy:
        return Completed(message=destroy_all(model, wanted))
    ensure_group(model, wanted)
    # A workspace that infra/bicep or somebody else has made keeps what it uses.
    components = needs_of_workspace(model, wanted) or ensure_needs(model, wanted)
    components["workspace"] = ensure_workspace(model, wanted, dict(components))
    components["compute"] = ensure_compute(model, wanted)
    components["datastore"], version = upload_data(model, wanted)
    components["dataset"] = register_dataset(model, wanted, components["datastore"], version)
    show_components(model, wanted, components)
    return Completed(message=f"workspace {wanted.workspace} has compute {wanted.compute.name} and dataset {version}")


def destroy_all(model: str, wanted: Plan) -> str:
    """Delete the resource group and what Azure would keep of it; run again, it goes on where it ended. Say what is."""
    vaults = vaults_to_purge(model, wanted)
    purge_workspaces(model, wanted)
    gone = destroy_group(model, wanted)
    group = f"resource group {wanted.resource_group} {'is deleted' if gone else 'was not there'}"
    return "; ".join([group, *purge_vaults(model, wanted, vaults)])


def ensure_needs(model: str, wanted: Plan) -> dict[str, str]:
    """What a workspace needs: storage, vault, logs and Application Insights; ids by the workspace's property."""
    tenant = tenant_of_subscription(model)
    storage = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": SAFE_STORAGE}
    vault = {"properties": {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, **SAFE_VAULT}}
    logs = {"properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30}}
    log_id = ensure_component(model, wanted, "Microsoft.OperationalInsights/workspaces", "log", logs)
    insights = {"kind": "web", "properties": {"Application_Type": "web", "WorkspaceResourceId": log_id}}
    return {
        "storageAccount": ensure_component(model, wanted, "Microsoft.Storage/storageAccounts", "st", storage),
        "keyVault": ensure_component(model, wanted, VAULT_TYPE, VAULT_PREFIX, vault),
        "applicationInsights": ensure_component(model, wanted, "Microsoft.Insights/components", "appi", insights),
    }


SAFE_STORAGE = {"minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": False, "supportsHttpsTrafficOnly": True}
SAFE_VAULT = {"enableRbacAuthorization": True}


if __name__ == "__main__":
    run(provision)
