"""Container Instances: container groups whose containers are processes of this machine."""

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin import actions
from infra.azure_twin import container_rules as rules
from infra.azure_twin.arm import Arm
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.gate import now
from infra.azure_twin.groups import Group
from infra.azure_twin.operations import Operation
from infra.azure_twin.resource_ids import ResourceId, parse
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin

FULL = "Microsoft.ContainerInstance/containerGroups"
VERSIONS = (
    "2018-10-01", "2019-12-01", "2021-03-01", "2021-07-01", "2021-09-01", "2021-10-01", "2022-09-01", "2023-05-01",
    "2024-10-01-preview", "2024-11-01-preview", "2025-09-01",
)  # fmt: skip


class ContainerGroups(ResourceType):
    """Puts, reads, stops, starts, restarts and deletes groups."""

    versions = VERSIONS

    def __init__(self, arm: Arm, full: str, twin: Twin) -> None:
        super().__init__(arm, full)
        self._twin = twin
        self._created = rules.CreateRate()
        self.groups: dict[str, Group] = {}
        self._leaving: dict[str, Operation] = {}
        """The deletion of each group that is being deleted, by its id in lower case."""

    async def put(self, rid: ResourceId, body: Body) -> Response:
        self.arm.need_group(rid)
        key = rid.path.lower()
        known = self.arm.resources.get(key)
        self._refuse(rid, body, known)
        body = copy.deepcopy(body)
        properties = body["properties"]
        group = self.groups.get(key) or Group(self._twin, rid)
        if self._twin.faults.take(["address change"], rid.path):
            group.move()
        self.groups[key] = group
        group.give_address(properties)
        properties |= {"provisioningState": "Pending", "instanceView": {"events": [], "state": "Pending"}}
        made = self.arm.keep(rid, FULL, body)
        self._add_identity(made)
        operation = self.arm.begin(rid, self._run(rid, made, group))
        response = JSONResponse(self.view(made), 200 if known else 201)
        response.headers.update(self.arm.headers(rid, operation, "2023-05-01"))
        return response

    async def patch(self, rid: ResourceId, body: Body) -> Response:
        known = self.arm.read(rid)
        known["tags"] = body.get("tags", known.get("tags"))
        return JSONResponse(self.view(known))

    async def find(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        prefix = f"/subscriptions/{rid.subscription}" + (f"/resourcegroups/{rid.group}" if rid.group else "")
        if rid.group:
            self.arm.need_group(rid)
        found = [self.view(each) for each in self.arm.under(prefix) if each["type"] == FULL]
        for each in found:  # Azure leaves the instance views out of lists.
            each["properties"].pop("instanceView", None)
            for container in each["properties"]["containers"]:
                container["properties"].pop("instanceView", None)
        return JSONResponse({"value": found})

    async def delete(self, rid: ResourceId) -> Response:
        known = self.arm.resources.get(rid.path.lower())
        if known is None:
            if rid.group:
                self.arm.need_group(rid)
            return Response(status_code=204)
        # Whoever deletes it once more waits for the same deletion.
        operation = self._leaving.get(rid.path.lower()) or self.arm.begin(rid, self._delete(rid))
        self._leaving[rid.path.lower()] = operation
        return Response(status_code=202, headers=self.arm.headers(rid, operation, "2023-05-01"))

    async def remove(self, rid: ResourceId) -> None:
        if group := self.groups.pop(rid.path.lower(), None):
            await group.stop()
            group.forget()
        self.arm.resources.pop(rid.path.lower(), None)

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        made, group = self.arm.read(rid), self.groups[rid.path.lower()]
        match action.lower():
            case "stop":
                await group.stop()
                group.state = "Stopped"
                return Response(status_code=204)
            case "start" | "restart":
                operation = self.arm.begin(rid, self._run(rid, made, group))
                return Response(status_code=202, headers=self.arm.headers(rid, operation, "2023-05-01"))
        return await super().act(rid, action, body, request)

    def view(self, resource: Body) -> Body:
        shown = rules.without_secrets(copy.deepcopy(resource))
        group = self.groups.get(resource["id"].lower())
        if group and resource["type"] == FULL:
            group.show(shown["properties"])
        return shown

    async def restart_by_platform(self, rid: ResourceId, move: bool) -> None:
        """What maintenance of the host does: all containers end and start again, perhaps with another address."""
        made, group = self.arm.read(rid), self.groups[rid.path.lower()]
        if move:
            group.move()
            group.give_address(made["properties"])
        group.note("Killing", "The container group was restarted due to platform maintenance.")
        await group.start(made)

    def _refuse(self, rid: ResourceId, body: Body, known: Body | None) -> None:
        """Raise the errors with which Azure refuses a PUT before anything changes."""
        for identity in (body.get("identity") or {}).get("userAssignedIdentities") or {}:
            self.arm.access.require_linked(actions.writes(rid, FULL), actions.assigns(identity))
        rules.check(rid.name, body)
        group = self.groups.get(rid.path.lower())
        moving = known and known["properties"]["provisioningState"] in ("Pending", "Creating")
        if moving or rid.path.lower() in self._leaving:
            raise documented("transitioning", group=rid.name)
        if known and group and group.living:
            rules.check_update(rid.name, known, body)
        properties, location = body["properties"], body.get("location", self.arm.location)
        others = [
            each for path, each in self.arm.resources.items() if each["type"] == FULL and path != rid.path.lower()
        ]
        rules.check_label(properties, [each["properties"] for each in others], location)
        if known is None:
            self._created.check()
            rules.check_quota(properties, [each["properties"] for each in others], location)
        self._strike(rid, properties, location)

    def _strike(self, rid: ResourceId, properties: Body, location: str) -> None:
        fault = self._twin.faults.take(["no capacity", "quota", "image pull"], rid.path, "PUT")
        if fault and fault.kind == "no capacity":
            raise documented(
                "no capacity",
                location=location,
                cpu=rules.requested(properties, "cpu"),
                memory=rules.requested(properties, "memoryInGB"),
                os=properties["osType"],
            )
        if fault and fault.kind == "quota":
            raise documented("quota", quota="StandardCores", location=location, limit=10, usage=10, requested=1)
        for container in [*properties.get("initContainers", []), *properties["containers"]]:
            image = container["properties"]["image"]
            if fault or not self._twin.may_pull(image, properties, pulling_identities(properties)):
                raise documented("image pull", image=image, group=rid.name)

    async def _run(self, rid: ResourceId, made: Body, group: Group) -> None:
        made["properties"]["provisioningState"] = "Creating"
        try:
            if slow := self._twin.faults.take(["slow pull"], rid.path):
                await group.stop()
                await asyncio.sleep(slow.seconds)
            await group.start(made)
        except Exception:
            made["properties"]["provisioningState"] = "Failed"
            raise
        made["properties"]["provisioningState"] = "Succeeded"

    async def _delete(self, rid: ResourceId) -> None:
        try:
            await self._twin.faults.strike_delete(rid.path, now(), rid.subscription)
            await self.remove(rid)
        finally:
            self._leaving.pop(rid.path.lower(), None)

    def _add_identity(self, made: Body) -> None:
        identity = made.get("identity") or {}
        if "SystemAssigned" in identity.get("type", ""):
            principal = self._twin.directory.of_resource(made["id"])
            identity |= {"principalId": principal.object_id, "tenantId": self._twin.tokens.tenant}
        for resource in identity.get("userAssignedIdentities", {}):
            principal = self._twin.directory.of_resource(resource)
            identity["userAssignedIdentities"][resource] = {
                "clientId": principal.client_id,
                "principalId": principal.object_id,
            }


class ContainerLogs(ResourceType):
    """``containers/<name>/logs`` of a group."""

    def __init__(self, arm: Arm, full: str, groups: ContainerGroups) -> None:
        super().__init__(arm, full)
        self._groups = groups

    async def find(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        outer = parse(rid.path.lower().partition("/containers/")[0])
        self.arm.read(outer)
        group = self._groups.groups[outer.path.lower()]
        for container in group.containers:
            if container.name.lower() == rid.names[1].lower():
                tail = int(query["tail"]) if query.get("tail") else None
                return JSONResponse({"content": container.logs(tail, query.get("timestamps", "").lower() == "true")})
        raise AzureError(
            404, "ContainerNotFound", f"Container '{rid.names[1]}' not found in container group '{group.rid.name}'."
        )


def pulling_identities(properties: Body) -> list[str]:
    """The identities with which images are pulled."""
    credentials: list[dict[str, Any]] = properties.get("imageRegistryCredentials") or []
    return [each["identity"] for each in credentials if each.get("identity")]


def install(twin: Twin) -> None:
    """Add container groups and their logs."""
    groups = ContainerGroups(twin.arm, FULL, twin)
    twin.arm.register(groups)
    twin.arm.register(ContainerLogs(twin.arm, f"{FULL}/containers/logs", groups))
    twin.container_groups = groups

    async def stop() -> None:
        await asyncio.gather(*(group.stop() for group in groups.groups.values()))

    twin.stoppers.append(stop)
