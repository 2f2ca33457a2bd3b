"""Resource groups, and types of resources that only have to exist."""

from starlette.responses import JSONResponse, Response

from infra.azure_twin.arm import Arm
from infra.azure_twin.errors import AzureError
from infra.azure_twin.gate import now
from infra.azure_twin.resource_ids import ResourceId, parse
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin

PLAIN = (
    "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Insights/components",
    "Microsoft.OperationalInsights/workspaces",
    "Microsoft.Network/publicIPAddresses",
)


class ResourceGroups(ResourceType):
    """Deleting one deletes what is in it."""

    def __init__(self, arm: Arm, full: str, twin: Twin) -> None:
        super().__init__(arm, full)
        self._twin = twin

    async def put(self, rid: ResourceId, body: Body) -> Response:
        known = self.arm.resources.get(rid.path.lower())
        made = self.arm.keep(rid, self.full, {**body, "properties": {"provisioningState": "Succeeded"}})
        return JSONResponse(made, 200 if known else 201)

    async def get(self, rid: ResourceId) -> Response:
        return JSONResponse(self.arm.need_group(rid))

    async def delete(self, rid: ResourceId) -> Response:
        self.arm.need_group(rid)["properties"]["provisioningState"] = "Deleting"
        operation = self.arm.begin(rid, self._empty(rid))
        return Response(status_code=202, headers=self.arm.headers(rid, operation, "2021-04-01"))

    async def _empty(self, rid: ResourceId) -> None:
        try:
            await self._twin.faults.strike_delete(rid.path, now(), rid.subscription)
        except AzureError:
            self.arm.need_group(rid)["properties"]["provisioningState"] = "Succeeded"
            raise
        for each in sorted(self.arm.under(rid.path), key=lambda body: -len(body["id"])):
            if each["id"].lower() != rid.path.lower():
                inner = parse(each["id"])
                await self.arm.type_of(inner).remove(inner)
        self.arm.resources.pop(rid.path.lower(), None)


class Identities(ResourceType):
    """User-assigned managed identities: each is a principal of the directory."""

    def __init__(self, arm: Arm, full: str, twin: Twin) -> None:
        super().__init__(arm, full)
        self._twin = twin

    async def put(self, rid: ResourceId, body: Body) -> Response:
        principal = self._twin.directory.of_resource(rid.path)
        properties = {
            "clientId": principal.client_id,
            "principalId": principal.object_id,
            "tenantId": self._twin.tokens.tenant,
        }
        return await super().put(rid, {**body, "properties": properties})


def install(twin: Twin) -> None:
    """Add the types."""
    twin.arm.register(ResourceGroups(twin.arm, "Microsoft.Resources/resourceGroups", twin))
    for full in PLAIN:
        twin.arm.register(ResourceType(twin.arm, full))
    twin.arm.register(Identities(twin.arm, PLAIN[0], twin))
