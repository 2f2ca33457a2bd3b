"""Container Registry: registries, their images, and tasks that build them."""

import uuid
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin import images
from infra.azure_twin.arm import Arm
from infra.azure_twin.errors import AzureError
from infra.azure_twin.gate import now
from infra.azure_twin.resource_ids import ResourceId, parse
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin

FULL = "Microsoft.ContainerRegistry/registries"


class Registries(ResourceType):
    """Registries; ``scheduleRun`` builds an image from a Dockerfile of the checkout, which makes it pullable."""

    def __init__(self, arm: Arm, full: str) -> None:
        super().__init__(arm, full)
        self.built: dict[str, set[str]] = {}
        """``repository:tag`` by login server."""

    async def put(self, rid: ResourceId, body: Body) -> Response:
        properties = {**body.get("properties", {}), "loginServer": f"{rid.name.lower()}.azurecr.io"}
        return await super().put(rid, {**body, "properties": {"adminUserEnabled": False, **properties}})

    async def remove(self, rid: ResourceId) -> None:
        """Its images go with it."""
        self.built.pop(f"{rid.name.lower()}.azurecr.io", None)
        await super().remove(rid)

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        registry = self.arm.read(rid)
        match action.lower():
            case "schedulerun":
                return self._build(rid, registry, body)
            case "importimage":
                server = registry["properties"]["loginServer"]
                self.built.setdefault(server, set()).update(body.get("targetTags") or [])
                return Response(status_code=200)
            case "listbuildsourceuploadurl":
                return JSONResponse({"uploadUrl": "", "relativePath": f"source/{uuid.uuid4().hex}.tar.gz"})
        return await super().act(rid, action, body, request)

    def _build(self, rid: ResourceId, registry: Body, body: Body) -> Response:
        if body.get("type") != "DockerBuildRequest":
            raise AzureError(400, "InvalidRunRequest", f"The run request type '{body.get('type')}' is not known.")
        names: list[str] = body.get("imageNames") or []
        server: str = registry["properties"]["loginServer"]
        file = images.CHECKOUT / body.get("dockerFilePath", "Dockerfile")
        found = file.is_file()
        if found:
            images.read_dockerfile(file.read_text("utf-8"))
            self.built.setdefault(server, set()).update(names)
        run = uuid.uuid4().hex[:4]
        inner = msgspec.structs.replace(rid, types=(*rid.types, "runs"), names=(*rid.names, run))
        properties: dict[str, Any] = {
            "runId": run,
            "status": "Succeeded" if found else "Failed",
            "runType": "QuickBuild",
            "createTime": now(),
            "finishTime": now(),
            "outputImages": [
                {"registry": server, "repository": name.partition(":")[0], "tag": name.partition(":")[2] or "latest"}
                for name in names
            ],
        }
        if not found:
            properties["runErrorMessage"] = f"unable to find Dockerfile {body.get('dockerFilePath')}"
        made = self.arm.keep(inner, f"{FULL}/runs", {"properties": properties})
        return JSONResponse(made, 200)

    def has(self, reference: str) -> bool:
        """Whether an image of a registry of the subscription was built."""
        server, _, name = reference.partition("/")
        return (name if ":" in name else f"{name}:latest") in self.built.get(server, set())

    def may_pull(self, server: str, principal: str) -> bool:
        """Whether a principal may pull from the registry of a login server."""
        pull = f"{FULL}/pull/read"
        return any(self.arm.access.allows(principal, pull, each["id"]) for each in self.of_server(server))

    def of_server(self, server: str) -> list[Body]:
        """The registry of a login server, when the subscription has it."""
        return [each for each in self.arm.of_type(FULL) if each["properties"]["loginServer"] == server]


def install(twin: Twin) -> None:
    """Add registries and their runs, and decide which images can be pulled."""
    registries = Registries(twin.arm, FULL)
    twin.arm.register(registries)
    twin.arm.register(ResourceType(twin.arm, f"{FULL}/runs"))

    def may_pull(reference: str, properties: Body, identities: list[str]) -> bool:
        server = reference.partition("/")[0]
        if images.find(reference) is None:
            return False
        if not server.endswith(".azurecr.io"):
            return True
        credentials = [each for each in properties.get("imageRegistryCredentials") or [] if each["server"] == server]
        known = all(parse(each).path.lower() in twin.arm.resources for each in identities)
        principals = [twin.directory.of_resource(each).object_id for each in identities]
        allowed = all(registries.may_pull(server, each) for each in principals)
        return bool(credentials) and known and allowed and registries.has(reference)

    twin.may_pull = may_pull
    twin.registry_allows = lambda server, principal: (
        not registries.of_server(server) or registries.may_pull(server, principal)
    )
