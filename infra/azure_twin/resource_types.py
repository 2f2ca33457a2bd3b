"""A type of resource: what Resource Manager does with one, for the twin's services to override."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin.errors import AzureError
from infra.azure_twin.resource_ids import ResourceId

if TYPE_CHECKING:
    from infra.azure_twin.arm import Arm

Body = dict[str, Any]


class ResourceType:
    """A type of resource: what Resource Manager does with one that has no behaviour of its own.

    Subclasses override what differs. ``full`` is the type's name in Azure's spelling.
    """

    versions: tuple[str, ...] = ()
    """API versions it answers; empty: any."""

    def __init__(self, arm: "Arm", full: str) -> None:
        self.arm = arm
        self.full = full

    async def put(self, rid: ResourceId, body: Body) -> Response:
        """Create or replace."""
        known = self.arm.resources.get(rid.path.lower())
        properties = {**body.get("properties", {}), "provisioningState": "Succeeded"}
        made = self.arm.keep(rid, self.full, {**body, "properties": properties})
        return JSONResponse(self.view(made), 200 if known else 201)

    async def patch(self, rid: ResourceId, body: Body) -> Response:
        """Update tags and properties."""
        known = self.arm.read(rid)
        known["tags"] = body.get("tags", known.get("tags"))
        known["properties"] = {**known.get("properties", {}), **body.get("properties", {})}
        return JSONResponse(self.view(known))

    async def get(self, rid: ResourceId) -> Response:
        """Read one."""
        return JSONResponse(self.view(self.arm.read(rid)))

    async def find(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        """Read those of a group or of the subscription."""
        group = f"/resourcegroups/{rid.group}" if rid.group else ""
        found = self.arm.under(f"/subscriptions/{rid.subscription}{group}")
        return JSONResponse({"value": [self.view(each) for each in found if each["type"].lower() == rid.type]})

    async def delete(self, rid: ResourceId) -> Response:
        """Delete at once; absent is fine."""
        if rid.path.lower() not in self.arm.resources:
            return Response(status_code=204)
        await self.remove(rid)
        return Response(status_code=200)

    async def discard(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        """Delete as a request's parameters ask for it."""
        return await self.delete(rid)

    async def remove(self, rid: ResourceId) -> None:
        """Let go of all that belongs to a resource, as a deleted resource group does."""
        for each in self.arm.under(rid.path):
            del self.arm.resources[each["id"].lower()]

    def forget(self) -> None:
        """Let go of what is kept of deleted ones."""

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        """Answer a POST on a resource."""
        raise AzureError(404, "InvalidResourceType", f"The twin has no action {action!r} of {self.full}.")

    def view(self, resource: Body) -> Body:
        """What a reader sees of a resource."""
        return resource
