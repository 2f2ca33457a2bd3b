"""Vaults as Resource Manager has them: a deleted one keeps its name until it is purged, which protection forbids."""

import asyncio
import datetime
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin.arm import Arm
from infra.azure_twin.errors import documented
from infra.azure_twin.resource_ids import ResourceId
from infra.azure_twin.resource_types import Body, ResourceType

FULL = "Microsoft.KeyVault/vaults"
VERSION = "2023-07-01"
RETENTION_DAYS = 90
PURGE_SECONDS = 0.2
Versions = list[dict[str, Any]]


class Vaults(ResourceType):
    """Vaults; nobody recovers a deleted one here, so its secrets go at once."""

    def __init__(self, arm: Arm, secrets: dict[str, dict[str, Versions]]) -> None:
        super().__init__(arm, FULL)
        self.deleted: dict[str, Body] = {}
        """Deleted vaults as Azure shows them, by name in lower case."""
        self._secrets = secrets

    async def put(self, rid: ResourceId, body: Body) -> Response:
        """Create or replace; the name of a deleted vault is taken, wherever in the subscription it was."""
        if rid.path.lower() not in self.arm.resources and rid.name.lower() in self.deleted:
            self.arm.need_group(rid)
            raise documented("vault name taken")
        return await super().put(rid, body)

    async def remove(self, rid: ResourceId) -> None:
        """Keep its name."""
        vault = self.arm.resources.get(rid.path.lower())
        await super().remove(rid)
        self._secrets.pop(rid.name.lower(), None)
        if vault:
            self.deleted[rid.name.lower()] = _deleted(rid, vault)

    def forget(self) -> None:
        """Give all names back."""
        self.deleted.clear()


class DeletedVaults(ResourceType):
    """What Azure shows of deleted vaults, and purging one."""

    def __init__(self, arm: Arm, full: str, vaults: Vaults) -> None:
        super().__init__(arm, full)
        self._deleted = vaults.deleted

    async def get(self, rid: ResourceId) -> Response:
        """Read one at its location."""
        return JSONResponse(self._find(rid))

    async def find(self, rid: ResourceId, query: Mapping[str, str]) -> Response:  # noqa: ARG002 - all are shown
        """Read those of the subscription."""
        return JSONResponse({"value": list(self._deleted.values())})

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        """Purge one."""
        if action != "purge":
            return await super().act(rid, action, body, request)
        if self._find(rid)["properties"].get("purgeProtectionEnabled"):
            raise documented("vault protected")
        operation = self.arm.begin(rid, self._purge(rid))
        return Response(status_code=202, headers=self.arm.headers(rid, operation, VERSION))

    async def _purge(self, rid: ResourceId) -> None:
        await asyncio.sleep(PURGE_SECONDS)
        self._deleted.pop(rid.name.lower(), None)

    def _find(self, rid: ResourceId) -> Body:
        found = self._deleted.get(rid.name.lower())
        if found is None or found["properties"]["location"].lower() != rid.names[0].lower():
            raise documented("no deleted vault", vault=rid.name)
        return found


def register(arm: Arm, secrets: dict[str, dict[str, Versions]]) -> None:
    """Add vaults and deleted vaults; the secrets are by vault and name."""
    vaults = Vaults(arm, secrets)
    arm.register(vaults)
    for full in ("Microsoft.KeyVault/locations/deletedVaults", "Microsoft.KeyVault/deletedVaults"):
        arm.register(DeletedVaults(arm, full, vaults))


def _deleted(rid: ResourceId, vault: Body) -> Body:
    """A deleted vault as Azure shows it."""
    now, given = datetime.datetime.now(datetime.UTC), vault.get("properties") or {}
    days = given.get("softDeleteRetentionInDays") or RETENTION_DAYS
    properties = {
        "vaultId": rid.path,
        "location": vault["location"],
        "tags": vault.get("tags") or {},
        "deletionDate": _written(now),
        "scheduledPurgeDate": _written(now + datetime.timedelta(days=days)),
    }
    if given.get("enablePurgeProtection"):
        properties["purgeProtectionEnabled"] = True
    place = f"/subscriptions/{rid.subscription}/providers/Microsoft.KeyVault/locations/{vault['location']}"
    return {
        "id": f"{place}/deletedVaults/{rid.name}",
        "name": rid.name,
        "type": "Microsoft.KeyVault/deletedVaults",
        "properties": properties,
    }


def _written(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
