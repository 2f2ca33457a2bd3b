"""Application Gateways: a change is shown at once and holds later; the health of what is behind one, by what holds."""

import asyncio
import copy

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin.arm import Arm
from infra.azure_twin.resource_ids import ResourceId
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin

FULL = "Microsoft.Network/applicationGateways"


class Gateways(ResourceType):
    """Their backend pools alone mean something; no request passes through one."""

    def __init__(self, arm: Arm, full: str, twin: Twin) -> None:
        super().__init__(arm, full)
        self._twin = twin
        self._holding: dict[str, list[Body]] = {}
        """The pools by which a gateway answers now, by its id in lower case."""

    async def put(self, rid: ResourceId, body: Body) -> Response:
        known = self.arm.resources.get(rid.path.lower())
        properties = {**body.get("properties", {}), "provisioningState": "Updating"}
        made = self.arm.keep(rid, FULL, {**body, "properties": properties})
        operation = self.arm.begin(rid, self._apply(rid, made))
        headers = self.arm.headers(rid, operation, "2024-05-01")
        return JSONResponse(self.view(made), 200 if known else 201, headers)

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        if action.lower() != "backendhealth":
            return await super().act(rid, action, body, request)
        self.arm.read(rid)
        operation = self.arm.begin(rid, asyncio.sleep(0))
        operation.result = {"backendAddressPools": [self._health(rid, each) for each in self._pools(rid)]}
        return Response(status_code=202, headers=self.arm.headers(rid, operation, "2024-05-01"))

    async def remove(self, rid: ResourceId) -> None:
        self._holding.pop(rid.path.lower(), None)
        await super().remove(rid)

    def _pools(self, rid: ResourceId) -> list[Body]:
        return self._holding.get(rid.path.lower(), [])

    def _health(self, rid: ResourceId, pool: Body) -> Body:
        hosts = [each["fqdn"] for each in pool.get("properties", {}).get("backendAddresses", [])]
        servers = [{"address": host, "health": "Up" if host in self._twin.networks else "Down"} for host in hosts]
        return {
            "backendAddressPool": {"id": f"{rid.path}/backendAddressPools/{pool['name']}"},
            "backendHttpSettingsCollection": [{"servers": servers}],
        }

    async def _apply(self, rid: ResourceId, made: Body) -> None:
        if slow := self._twin.faults.take(["slow gateway"], rid.path, "PUT"):
            await asyncio.sleep(slow.seconds)
        self._holding[rid.path.lower()] = copy.deepcopy(made["properties"].get("backendAddressPools", []))
        made["properties"]["provisioningState"] = "Succeeded"


def install(twin: Twin) -> None:
    """Add the type."""
    twin.arm.register(Gateways(twin.arm, FULL, twin))
