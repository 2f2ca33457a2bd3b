"""Principals of the twin beside the subscription's owner, and what they are answered."""

import ssl
import uuid
from typing import Any

import httpx

from tests.infra.twin import ARM, GROUP, TwinClient

VAULT = "https://vault.azure.net"


class Principal:
    """A user-assigned identity without a role until one is granted; answers are not asserted to be good."""

    def __init__(self, twin: TwinClient, resource: str) -> None:
        self.twin = twin
        self.resource = resource
        told = twin.control.post("/twin/identities", json={"resource": resource}).raise_for_status().json()
        self.client: str = told["AZURE_CLIENT_ID"]
        self.object: str = told["principalId"]
        self.variables = {name: value for name, value in told.items() if name != "principalId"}

    def token(self, audience: str) -> str:
        """A token, as a process that runs under the identity gets it."""
        answer = httpx.get(
            self.variables["IDENTITY_ENDPOINT"],
            params={"resource": audience},
            headers={"X-IDENTITY-HEADER": self.variables["IDENTITY_HEADER"]},
            trust_env=False,
        )
        return str(answer.raise_for_status().json()["access_token"])

    def ask(self, method: str, url: str, version: str = "2022-12-01", body: Any = None) -> httpx.Response:
        """One request to a service of Azure."""
        audience = VAULT if "vault.azure.net" in url else ARM
        context = ssl.create_default_context(cafile=self.twin.environment["SSL_CERT_FILE"])
        with httpx.Client(proxy=self.twin.environment["HTTPS_PROXY"], verify=context, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {self.token(audience)}"}
            return client.request(method, url, params={"api-version": version}, json=body, headers=headers)

    def arm(self, method: str, path: str, version: str = "2022-12-01", body: Any = None) -> httpx.Response:
        """One request to Resource Manager."""
        return self.ask(method, f"{ARM}{path}", version, body)

    def grant(self, role: str, scope: str) -> str:
        """Assign a role, as the owner; return the assignment's id."""
        definition = f"/subscriptions/{self.twin.subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        properties = {"principalId": self.object, "roleDefinitionId": definition, "principalType": "ServicePrincipal"}
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
        return str(self.twin.arm("PUT", path, "2022-04-01", {"properties": properties}).json()["id"])

    def lose(self, role: str, on: str = "") -> None:
        """Delete the assignment of a role (of several, the one on a scope that ends so), as the owner."""
        (found,) = [
            each
            for each in self.twin.resources("roleAssignments")
            if each["properties"]["principalId"] == self.object
            and each["properties"]["roleDefinitionId"].endswith(role)
            and each["properties"]["scope"].endswith(on)
        ]
        self.twin.arm("DELETE", found["id"], "2022-04-01")


def group_of(twin: TwinClient) -> str:
    return f"/subscriptions/{twin.subscription}/resourceGroups/{GROUP}"


def make_identity(twin: TwinClient, name: str) -> Principal:
    """A user-assigned identity in the tests' resource group."""
    resource = f"{group_of(twin)}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    twin.arm("PUT", group_of(twin), "2021-04-01", {"location": "westeurope"})
    twin.arm("PUT", resource, "2023-01-31", {"location": "westeurope"})
    return Principal(twin, resource)
