"""Role assignments on any scope."""

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from infra.azure_twin.access import role_of
from infra.azure_twin.arm import ASSIGNMENTS as FULL
from infra.azure_twin.errors import documented
from infra.azure_twin.gate import now
from infra.azure_twin.resource_ids import ResourceId
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin


class RoleAssignments(ResourceType):
    """Assignments; the same role for the same principal on the same scope exists once, and is never changed."""

    async def put(self, rid: ResourceId, body: Body) -> Response:
        wanted = body["properties"]
        role_of(wanted["roleDefinitionId"])
        scope = rid.scope or f"/subscriptions/{rid.subscription}" + (
            f"/resourceGroups/{rid.group}" if rid.group else ""
        )
        key = (wanted["principalId"], wanted["roleDefinitionId"].lower(), scope.lower())
        for each in self._all():
            known = each["properties"]
            same = (known["principalId"], known["roleDefinitionId"].lower(), known["scope"].lower()) == key
            if same and each["name"] != rid.name:
                raise documented("assignment exists")
            if not same and each["id"].lower() == rid.path.lower():
                raise documented("assignment changes")
        existed = rid.path.lower() in self.arm.resources
        properties = {**wanted, "scope": scope, "createdOn": now(), "updatedOn": now()}
        made = self.arm.keep(rid, FULL, {"properties": properties})
        made.pop("location", None)
        return JSONResponse(made, 200 if existed else 201)

    async def find(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        scope = rid.path.lower().partition("/providers/microsoft.authorization")[0]
        found = [each for each in self._all() if each["properties"]["scope"].lower().startswith(scope)]
        wanted = query.get("$filter", "").partition("principalId eq '")[2].partition("'")[0]
        return JSONResponse({"value": [each for each in found if wanted in ("", each["properties"]["principalId"])]})

    async def delete(self, rid: ResourceId) -> Response:
        found = self.arm.resources.pop(rid.path.lower(), None)
        return JSONResponse(found) if found else Response(status_code=204)

    def _all(self) -> list[Body]:
        return self.arm.of_type(FULL)


def install(twin: Twin) -> None:
    """Add role assignments."""
    twin.arm.register(RoleAssignments(twin.arm, FULL))
