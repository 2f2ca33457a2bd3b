"""What ``infra/bicep`` makes of an empty subscription, as far as the twin has it, and the settings that name it.

The cluster of the training pool is left to the flow ``provision``, as on Azure.
"""

import secrets
import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec

from infra.azure_twin.rehearsal import roles

GROUP, REGION = "rg-mlops", "westeurope"
REGISTRY, ACCOUNT, VAULT = "crmlops", "stmlops", "kv-mlops"
WORKSPACE, ML_ACCOUNT, INSIGHTS = "mlw-mlops", "mlstmlops", "appi-mlops"
WORKSPACES = "Microsoft.MachineLearningServices/workspaces"
WHO = ("scoring", "flows", "worker", "server")
"""The identities of infra/bicep/modules/identities.bicep."""
IMAGES = {"mlops-flows:latest": "flows", "mlops-scoring:latest": "scoring", "mlops-worker:latest": "worker"}
CONTAINERS = ("mlops", "mlflow")
"""Of infra/bicep/modules/storage.bicep."""
SIGN_IN = "servers-sign-in"
"""The secret of infra/bicep/modules/secrets.bicep that holds the servers' user and password."""
ARM = "https://management.azure.com"
DATABASES_VAULT = "kd-mlops"
VAULT_URL, DATABASES_VAULT_URL = (f"https://{name}.vault.azure.net" for name in (VAULT, DATABASES_VAULT))


class Subscription:
    """Resource Manager, asked as the service principal of an environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._context = ssl.create_default_context(cafile=environment["SSL_CERT_FILE"])
        self._proxy = environment["HTTPS_PROXY"]
        self.root = f"/subscriptions/{environment['AZURE_SUBSCRIPTION_ID']}"
        self.group = f"{self.root}/resourceGroups/{GROUP}"
        self._environment = environment
        self._headers = self._signed_in(ARM)

    def call(self, method: str, path: str, version: str, body: Any = None) -> Any:
        """One request; its answer as JSON, nothing when it has none."""
        answer = self.ask(method, path, version, body).raise_for_status()
        return answer.json() if answer.content else None

    def ask(self, method: str, path: str, version: str, body: Any = None) -> httpx.Response:
        """One request, whatever its answer."""
        with self._connected() as client:
            return client.request(
                method, f"{ARM}{path}", params={"api-version": version}, json=body, headers=self._headers
            )

    def secret(self, name: str) -> str:
        """A secret of the vault; empty when it has none."""
        answer = self._ask_vault("GET", name)
        return "" if answer.status_code == 404 else str(answer.raise_for_status().json()["value"])

    def put_secret(self, name: str, value: str, vault: str = VAULT_URL) -> None:
        """Write a secret of a vault."""
        self._ask_vault("PUT", name, {"value": value}, vault).raise_for_status()

    def _ask_vault(self, method: str, name: str, body: Any = None, vault: str = VAULT_URL) -> httpx.Response:
        headers = self._signed_in("https://vault.azure.net")
        with self._connected() as client:
            url = f"{vault}/secrets/{name}"
            return client.request(method, url, params={"api-version": "7.4"}, headers=headers, json=body)

    def _signed_in(self, audience: str) -> dict[str, str]:
        told = self._environment
        form = {
            "grant_type": "client_credentials",
            "scope": f"{audience}/.default",
            "client_id": told["AZURE_CLIENT_ID"],
            "client_secret": told["AZURE_CLIENT_SECRET"],
        }
        url = f"https://login.microsoftonline.com/{told['AZURE_TENANT_ID']}/oauth2/v2.0/token"
        with self._connected() as client:
            token = client.post(url, data=form).raise_for_status().json()["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def _connected(self) -> httpx.Client:
        return httpx.Client(proxy=self._proxy, verify=self._context, trust_env=False, timeout=60)

    def id(self, path: str) -> str:
        """The id of ``<provider>/<type>/<name>`` in the group."""
        return f"{self.group}/providers/{path}"

    def resources(self) -> list[dict[str, Any]]:
        """The resources of the group."""
        found: list[dict[str, Any]] = self.call("GET", f"{self.group}/resources", "2021-04-01")["value"]
        return found

    def clusters(self) -> list[dict[str, Any]]:
        """The compute clusters of the group's workspaces, which a list of resources leaves out."""
        found: list[dict[str, Any]] = []
        for each in self.resources():
            if each["type"] == WORKSPACES:
                found += self.call("GET", f"{each['id']}/computes", "2024-04-01")["value"]
        return found


def prepare(azure: Subscription) -> None:
    """Make what ``infra/bicep`` makes, with its role assignments; again changes nothing."""
    place = {"location": REGION}
    azure.call("PUT", azure.group, "2021-04-01", place)
    registry = azure.id(f"Microsoft.ContainerRegistry/registries/{REGISTRY}")
    azure.call("PUT", registry, "2023-07-01", place | {"sku": {"name": "Basic"}})
    for image, name in IMAGES.items():
        task = {"type": "DockerBuildRequest", "imageNames": [image], "platform": {"os": "Linux"}}
        task |= {"dockerFilePath": f"infra/docker/{name}.Dockerfile"}
        azure.call("POST", f"{registry}/scheduleRun", "2019-06-01-preview", task)
    kind = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    account, of_workspace = (azure.id(f"Microsoft.Storage/storageAccounts/{name}") for name in (ACCOUNT, ML_ACCOUNT))
    for each in (account, of_workspace):
        azure.call("PUT", each, "2023-05-01", place | kind)
    vault, databases = (azure.id(f"Microsoft.KeyVault/vaults/{name}") for name in (VAULT, DATABASES_VAULT))
    for each in (vault, databases):
        azure.call("PUT", each, "2023-07-01", place | {"properties": {"enableRbacAuthorization": True}})
    # The servers of the installation ask for it as those of infra/bicep do.
    if not azure.secret(SIGN_IN):
        azure.put_secret(SIGN_IN, f"mlops:{secrets.token_urlsafe(24)}")
    insights = azure.id(f"Microsoft.Insights/components/{INSIGHTS}")
    azure.call("PUT", insights, "2020-02-02", place)
    workspace = azure.id(f"{WORKSPACES}/{WORKSPACE}")
    if workspace not in {each["id"] for each in azure.resources()}:
        needs = {"storageAccount": of_workspace, "keyVault": vault, "applicationInsights": insights}
        properties = {"friendlyName": WORKSPACE, "containerRegistry": registry, **needs}
        azure.call("PUT", workspace, "2024-04-01", place | {"properties": properties})
    principals = {}
    for who in WHO:
        made = azure.call("PUT", identity(azure, who), "2023-01-31", place)
        principals[who] = made["properties"]["principalId"]
    scopes = {
        "onStore": f"{account}/blobServices/default/containers/{{}}",
        "onRegistry": registry,
        "onVault": vault,
        "onDatabases": databases,
        "onWorkspace": workspace,
        "onGroup": azure.group,
        "onIdentities": identity(azure, "{}"),
    }
    roles.assign(azure, principals, scopes)


def identity(azure: Subscription, who: str) -> str:
    """The identity of scoring, flows, worker or server."""
    return azure.id(f"Microsoft.ManagedIdentity/userAssignedIdentities/mlops-{who}")


def settings(azure: Subscription, ports: dict[str, int], worker_env_file: Path) -> str:
    """The installation's settings file: the profile, and what it is called in this subscription."""
    values: dict[str, str | int] = {
        "profile": "azure",
        "azure_subscription": azure.root.rpartition("/")[2],
        "azure_resource_group": GROUP,
        "azure_region": REGION,
        "azure_workspace": WORKSPACE,
        "azure_registry": f"{REGISTRY}.azurecr.io",
        "azure_identity": identity(azure, "scoring"),
        "azure_flow_identity": identity(azure, "flows"),
        "azure_storage_account": ACCOUNT,
        "azure_storage_container": "mlops",
        "azure_key_vault": VAULT_URL,
        "azure_servers_secret": SIGN_IN,
        "azure_dns_prefix": "mlops",
        "worker_env_file": str(worker_env_file),
        **ports,
    }
    return "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in values.items())
