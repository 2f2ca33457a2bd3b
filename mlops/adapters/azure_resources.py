"""Resources of a subscription through Resource Manager, whatever their type."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from mlops.adapters.azure_ml_errors import explain, is_transient

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

POLL_SECONDS = 5.0
CREATED_BY = "mlops-created-by"
"""The tag on all that this system makes."""


class ResourceError(Exception):
    """Azure refused; ``transient`` when another try may help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource, as lists show it."""

    id: str
    name: str
    type: str
    tags: dict[str, str] = {}


class DeletedVault(msgspec.Struct, frozen=True, kw_only=True):
    """A Key Vault that Azure still keeps, with its name, until ``kept_until``; a protected one cannot be purged."""

    name: str
    location: str
    kept_until: str
    protected: bool


class Resources:
    """One subscription. Methods raise ``ResourceError``, and return when Azure says that it is done."""

    def __init__(self, credential: "TokenCredential", subscription: str) -> None:
        from azure.mgmt.keyvault import KeyVaultManagementClient
        from azure.mgmt.resource import ResourceManagementClient, SubscriptionClient

        # Azure's answers say how long to wait; the interval counts where they do not.
        self._client = ResourceManagementClient(credential, subscription, polling_interval=POLL_SECONDS)
        self._vaults = KeyVaultManagementClient(credential, subscription, polling_interval=POLL_SECONDS).vaults
        self._subscriptions = SubscriptionClient(credential).subscriptions
        self.subscription = subscription

    def tenant(self) -> str:
        """The id of the Entra tenant that the subscription trusts."""
        with translated(f"read subscription {self.subscription}"):
            return str(self._subscriptions.get(self.subscription).tenant_id)

    def group(self, name: str) -> Resource | None:
        """A resource group; none when there is none."""
        with translated(f"read resource group {name}"):
            if not self._client.resource_groups.check_existence(name):
                return None
            return _resource(self._client.resource_groups.get(name))

    def ensure_group(self, name: str, region: str, tags: dict[str, str]) -> bool:
        """Make a resource group unless it exists; return whether it was made."""
        if self.group(name):
            return False
        with translated(f"create resource group {name}"):
            self._client.resource_groups.create_or_update(name, {"location": region, "tags": tags})
        return True

    def delete_group(self, name: str) -> None:
        """Delete a resource group with all that is in it; nothing happens when there is none."""
        with translated(f"delete resource group {name}"):
            if self._client.resource_groups.check_existence(name):
                self._client.resource_groups.begin_delete(name).result()

    def inside(self, group: str, kind: str) -> list[Resource]:
        """What a resource group has of a type."""
        with translated(f"list {kind} in resource group {group}"):
            found = self._client.resources.list_by_resource_group(group, filter=f"resourceType eq '{kind}'")
            return [_resource(each) for each in found]

    def deleted_vaults(self, group: str) -> list[DeletedVault]:
        """The deleted vaults that were in a resource group, which may be gone."""
        place = f"{self.id(group, 'Microsoft.KeyVault/vaults')}/".lower()
        with translated("list deleted vaults"):
            found = [(each.name, each.properties) for each in self._vaults.list_deleted()]
        return [
            DeletedVault(
                name=name,
                location=kept.location,
                kept_until=f"{kept.scheduled_purge_date:%Y-%m-%d %H:%M} UTC",
                protected=bool(kept.purge_protection_enabled),
            )
            for name, kept in found
            if kept.vault_id.lower().startswith(place)
        ]

    def purge_vault(self, vault: DeletedVault) -> None:
        """Delete a deleted vault for good; nothing happens when there is none."""
        from azure.core.exceptions import ResourceNotFoundError

        with translated(f"purge vault {vault.name}"):
            try:
                self._vaults.begin_purge_deleted(vault.name, vault.location).result()
            except ResourceNotFoundError:
                return

    def id(self, group: str, path: str) -> str:
        """The id of ``<provider>/<type>/<name>...`` in a resource group."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}/providers/{path}"

    def state(self, resource_id: str, version: str) -> str:
        """A resource's provisioning state; empty when there is none."""
        found = self.properties(resource_id, version)
        return "" if found is None else str(found.get("provisioningState") or "Succeeded")

    def properties(self, resource_id: str, version: str) -> dict[str, Any] | None:
        """A resource's properties as Azure names them; none when there is no resource."""
        from azure.core.exceptions import ResourceNotFoundError

        with translated(f"read {_short(resource_id)}"):
            try:
                found = self._client.resources.get_by_id(resource_id, version)
            except ResourceNotFoundError:
                return None
            return dict(found.properties or {})

    def ensure(self, resource_id: str, version: str, body: dict[str, Any]) -> bool:
        """Make a resource unless it exists and is whole; return whether it was made."""
        if self.state(resource_id, version) == "Succeeded":
            return False
        with translated(f"create {_short(resource_id)}"):
            self._client.resources.begin_create_or_update_by_id(resource_id, version, body).result()
        return True

    def delete(self, resource_id: str, version: str, **query: str) -> None:
        """Delete a resource; nothing happens when there is none. ``query`` is what the type has of its own."""
        from azure.core.exceptions import ResourceNotFoundError

        with translated(f"delete {_short(resource_id)}"):
            try:
                self._client.resources.begin_delete_by_id(resource_id, version, params=query).result()
            except ResourceNotFoundError:
                return


def _resource(found: Any) -> Resource:
    return Resource(id=found.id, name=found.name, type=found.type or "", tags=found.tags or {})


def _short(resource_id: str) -> str:
    return resource_id.partition("/providers/")[2] or resource_id


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn what Azure's SDKs raise into ``ResourceError``, saying what was done."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        raise ResourceError(f"{action}: {explain(error)}", transient=is_transient(error)) from error
