"""Tasks of the build pipeline: each component of the workspace is one, made unless it is there."""

from typing import Any

from prefect.artifacts import create_table_artifact

from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.azure_resources import CREATED_BY, Resources
from mlops.adapters.variables import read_variables
from mlops.core.provisioning import Plan, plan
from tasks.azure import GROUP_TAG, open_resources, open_workspace, refusing
from tasks.context import current_flow_run, open_model
from tasks.network import Refused, network_task

MAKER = "provision"
WORKSPACES = "2024-04-01"
WORKSPACE_TYPE = "Microsoft.MachineLearningServices/workspaces"
VERSIONS = {
    "Microsoft.Storage/storageAccounts": "2023-05-01",
    "Microsoft.KeyVault/vaults": "2023-07-01",
    "Microsoft.OperationalInsights/workspaces": "2022-10-01",
    "Microsoft.Insights/components": "2020-02-02",
}
LOGS_TYPE = "Microsoft.OperationalInsights/workspaces"
VAULT_TYPE = "Microsoft.KeyVault/vaults"
VAULT_PREFIX = "kv"
NEEDS = ("storageAccount", "keyVault", "applicationInsights")
"""Properties of a workspace that name what it uses."""
LONG_SECONDS = 1800


@network_task("read variables")
def plan_from_variables(model: str, variables: str | None) -> Plan:
    """The variable library: from the environment, a file, the settings, the defaults."""
    settings = open_model(model).settings
    known = {
        "ml.region": settings.azure_region,
        "ml.resourceGroup": settings.azure_resource_group,
        "ml.workspace": settings.azure_workspace,
        "ml.computeName": settings.azure_compute,
    }
    given, environment = read_variables(variables)
    return plan(given, environment, known)


@network_task("resource group", timeout=LONG_SECONDS)
def ensure_group(model: str, wanted: Plan) -> bool:
    """The resource group; return whether it was made."""
    with refusing():
        return resources(model).ensure_group(wanted.resource_group, wanted.region, _tags())


@network_task("tenant")
def tenant_of_subscription(model: str) -> str:
    """The id of the subscription's tenant; the settings may have none, or a domain, which a vault does not take."""
    with refusing():
        return resources(model).tenant()


@network_task("{kind}", timeout=LONG_SECONDS)
def ensure_component(model: str, wanted: Plan, kind: str, prefix: str, body: dict[str, Any]) -> str:
    """A component that the workspace needs; return its id. Its name begins with the prefix."""
    with refusing():
        client = resources(model)
        name = wanted.unique(prefix, client.subscription)
        resource_id = client.id(wanted.resource_group, f"{kind}/{name}")
        client.ensure(resource_id, VERSIONS[kind], {"location": wanted.region, "tags": _tags(), **body})
        return resource_id


@network_task("what the workspace uses", timeout=LONG_SECONDS)
def needs_of_workspace(model: str, wanted: Plan) -> dict[str, str]:
    """What a workspace that is there uses: its properties to the components' ids; empty when there is none."""
    with refusing():
        client = resources(model)
        resource_id = client.id(wanted.resource_group, f"{WORKSPACE_TYPE}/{wanted.workspace}")
        found = client.properties(resource_id, WORKSPACES) or {}
        return {name: found[name] for name in NEEDS if found.get(name)}


@network_task("workspace", timeout=LONG_SECONDS)
def ensure_workspace(model: str, wanted: Plan, needs: dict[str, str]) -> str:
    """The workspace; ``needs`` maps its properties to the components' ids. Return its id."""
    with refusing():
        client = resources(model)
        resource_id = client.id(wanted.resource_group, f"{WORKSPACE_TYPE}/{wanted.workspace}")
        body = {
            "location": wanted.region,
            "tags": _tags(),
            "identity": {"type": "SystemAssigned"},
            "properties": {"friendlyName": wanted.workspace, **needs},
        }
        client.ensure(resource_id, WORKSPACES, body)
        return resource_id


@network_task("compute", timeout=LONG_SECONDS)
def ensure_compute(model: str, wanted: Plan) -> str:
    """The compute cluster; return its name."""
    from msgspec.structs import replace

    with refusing():
        # Jobs act as the cluster's identity, so it is that of flow runs, which has their roles.
        identity = open_model(model).settings.azure_flow_identity
        return workspace(model, wanted).ensure_compute(replace(wanted.compute, tags=_tags(), identity=identity)).name


@network_task("upload data", timeout=LONG_SECONDS)
def upload_data(model: str, wanted: Plan) -> tuple[str, str]:
    """The newest snapshot (the landing files before the first one) in the default datastore; address and version."""
    context = open_model(model)
    snapshot = context.snapshots.latest()
    if snapshot:
        found = context.snapshots.files(snapshot)
    else:
        found = {key: context.store.get(key) for key in context.store.list(f"{model}/landing/")}
    if not found:
        raise Refused(f"{model} has no data yet: put files under {model}/landing/")
    files = {key.removeprefix(f"{model}/"): data for key, data in found.items()}
    version = snapshot[:16] if snapshot else "landing"
    with refusing():
        return workspace(model, wanted).upload(files, f"{model}/{version}"), version


@network_task("register dataset", timeout=LONG_SECONDS)
def register_dataset(model: str, wanted: Plan, address: str, version: str) -> str:
    """The data as a data asset of the workspace: immutable, one version a snapshot; return its id."""
    properties = {
        "dataType": "uri_folder",
        "dataUri": address,
        "description": f"Data of the model {model}, snapshot {version}.",
        "tags": {"model": model, **_tags()},
    }
    with refusing():
        client = resources(model)
        path = f"{WORKSPACE_TYPE}/{wanted.workspace}/data/{model}/versions/{version}"
        resource_id = client.id(wanted.resource_group, path)
        client.ensure(resource_id, WORKSPACES, {"properties": properties})
        return resource_id


@network_task("show components")
def show_components(model: str, wanted: Plan, components: dict[str, str]) -> None:
    """All that there is, as a table in the UI."""
    rows = [{"component": kind, "id": resource_id} for kind, resource_id in components.items()]
    create_table_artifact(key=f"{model}-azure", table=rows, description=f"Workspace {wanted.workspace}")


@network_task("vaults to purge")
def vaults_to_purge(model: str, wanted: Plan) -> list[str]:
    """Names of the group's vaults, which Azure keeps when it deletes them; that of the plan even when all is gone."""
    with refusing():
        client = resources(model)
        found = client.inside(wanted.resource_group, VAULT_TYPE) if _is_to_destroy(client, wanted) else []
        return sorted({wanted.unique(VAULT_PREFIX, client.subscription), *(each.name for each in found)})


@network_task("purge workspaces", timeout=LONG_SECONDS)
def purge_workspaces(model: str, wanted: Plan) -> None:
    """Delete the group's workspaces and logs for good: otherwise Azure keeps them, and their names, for 14 days.

    The plan's workspace may have been deleted before, and be kept: it is purged by its name.
    """
    with refusing():
        client = resources(model)
        if not _is_to_destroy(client, wanted):
            return
        kept = {client.id(wanted.resource_group, f"{WORKSPACE_TYPE}/{wanted.workspace}")}
        kept.update(each.id for each in client.inside(wanted.resource_group, WORKSPACE_TYPE))
        for resource_id in sorted(kept):
            client.delete(resource_id, WORKSPACES, forceToPurge="true")
        for each in client.inside(wanted.resource_group, LOGS_TYPE):
            client.delete(each.id, VERSIONS[LOGS_TYPE], force="true")


@network_task("destroy", timeout=LONG_SECONDS)
def destroy_group(model: str, wanted: Plan) -> bool:
    """Delete the resource group with all that is in it, if this flow made it; return whether it was there."""
    with refusing():
        client = resources(model)
        if not _is_to_destroy(client, wanted):
            return False
        client.delete_group(wanted.resource_group)
    return True


@network_task("purge vaults", timeout=LONG_SECONDS)
def purge_vaults(model: str, wanted: Plan, names: list[str]) -> list[str]:
    """Delete the deleted vaults of these names for good; return what became of each that Azure still kept."""
    told = []
    with refusing():
        client = resources(model)
        for vault in client.deleted_vaults(wanted.resource_group):
            if vault.name not in names:
                continue
            if vault.protected:
                told.append(f"vault {vault.name} is protected from purging: it keeps its name until {vault.kept_until}")
                continue
            client.purge_vault(vault)
            told.append(f"vault {vault.name} is purged")
    return told


def _is_to_destroy(client: Resources, wanted: Plan) -> bool:
    """Whether the resource group is there; one that somebody else made is refused."""
    found = client.group(wanted.resource_group)
    if found is None:
        return False
    if found.tags.get(CREATED_BY) != MAKER:
        raise Refused(
            f"resource group {wanted.resource_group} was not made by this flow (no tag {CREATED_BY}={MAKER}): "
            "delete it yourself if you are sure"
        )
    return True


def resources(model: str) -> Resources:
    """The subscription of the settings."""
    return open_resources(open_model(model).settings)


def workspace(model: str, wanted: Plan) -> AzureMl:
    """The workspace of a plan."""
    return open_workspace(open_model(model).settings, wanted.resource_group, wanted.workspace)


def _tags() -> dict[str, str]:
    return {CREATED_BY: MAKER, GROUP_TAG: current_flow_run()}
