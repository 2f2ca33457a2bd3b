"""Workspaces and AmlCompute clusters as Resource Manager answers for them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Container, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin import actions
from infra.azure_twin.arm import Arm
from infra.azure_twin.azure_ml.cluster import SIZES, Scheduler
from infra.azure_twin.azure_ml.errors import failure
from infra.azure_twin.azure_ml.state import PROVIDER, Cluster, Workspace, now
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.faults import Faults
from infra.azure_twin.resource_ids import ResourceId
from infra.azure_twin.resource_types import Body, ResourceType

VERSION = "2024-04-01"
CREATE_SECONDS = 0.2
SHOWN = {"subnet": None, "enableNodePublicIp": True, "osType": "Linux"}
"""What every cluster shows, whether it was given or not."""


class Workspaces(ResourceType):
    """``Microsoft.MachineLearningServices/workspaces``; ``known`` is shared with the data plane.

    A deleted one keeps its name in its resource group until it is purged; nobody recovers one here.
    """

    def __init__(self, arm: Arm, known: dict[str, Workspace], scheduler: Scheduler) -> None:
        super().__init__(arm, f"{PROVIDER}/workspaces")
        self.known = known
        self.scheduler = scheduler
        self.deleted: set[str] = set()
        """Ids of deleted ones in lower case."""

    async def put(self, rid: ResourceId, body: Body) -> Response:
        """Create or update; what a workspace depends on must exist."""
        if rid.path.lower() in self.deleted:
            self.arm.need_group(rid)
            raise failure("workspace name taken")
        properties = body.get("properties", {})
        for needed in ("storageAccount", "keyVault"):
            if not properties.get(needed):
                raise AzureError(400, "ValidationError", f"Missing dependent ARM resource: {needed}.")
            if properties[needed].lower() not in self.arm.resources:
                raise AzureError(
                    400, "FailedToFetchResource", f"Unable to fetch {properties[needed]}: it was not found."
                )
        workspace = self.known.get(rid.path.lower())
        if workspace is None:
            workspace = Workspace(rid.path, body)
            self.known[rid.path.lower()] = workspace
        workspace.body = body
        workspace.account = properties["storageAccount"].rpartition("/")[2]
        made = self.arm.keep(rid, self.full, {**body, "properties": self._properties(workspace, "Creating")})
        operation = self.arm.begin(rid, self._create(made))
        return JSONResponse(made, 201, self.arm.headers(rid, operation, VERSION))

    async def _create(self, made: Body) -> None:
        await asyncio.sleep(CREATE_SECONDS)
        made["properties"]["provisioningState"] = "Succeeded"

    def _properties(self, workspace: Workspace, state: str) -> Body:
        region = workspace.location
        return {
            **workspace.body.get("properties", {}),
            "workspaceId": workspace.guid,
            "discoveryUrl": f"https://{region}.api.azureml.ms/discovery",
            "provisioningState": state,
            "creationTime": now(),
        }

    async def delete(self, rid: ResourceId) -> Response:
        """Delete with all that is in it."""
        return self._begin(rid, self.arm.resources, self.remove)

    async def discard(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        """Delete, or with ``forceToPurge`` for good, also one that is deleted already."""
        if query.get("forceToPurge", "").lower() != "true":
            return await self.delete(rid)
        return self._begin(rid, {*self.arm.resources, *self.deleted}, self._purge)

    async def remove(self, rid: ResourceId) -> None:
        """End its jobs, and keep only its name."""
        if workspace := self.known.pop(rid.path.lower(), None):
            await self.scheduler.end(list(workspace.runs.values()))
        await super().remove(rid)
        self.deleted.add(rid.path.lower())

    def forget(self) -> None:
        """Give all names back."""
        self.deleted.clear()

    async def _purge(self, rid: ResourceId) -> None:
        await self.remove(rid)
        self.deleted.discard(rid.path.lower())

    def _begin(self, rid: ResourceId, among: Container[str], work: Callable[[ResourceId], Awaitable[None]]) -> Response:
        if rid.path.lower() not in among:
            return Response(status_code=204)
        operation = self.arm.begin(rid, work(rid))
        return Response(status_code=202, headers=self.arm.headers(rid, operation, VERSION))


class Computes(ResourceType):
    """``Microsoft.MachineLearningServices/workspaces/computes`` of the type AmlCompute."""

    def __init__(self, arm: Arm, known: dict[str, Workspace], scheduler: Scheduler, faults: Faults) -> None:
        super().__init__(arm, f"{PROVIDER}/workspaces/computes")
        self.known = known
        self.scheduler = scheduler
        self.faults = faults

    def workspace(self, rid: ResourceId) -> Workspace:
        """The workspace of a compute."""
        scope = rid.path.rpartition("/computes")[0]
        found = self.known.get(scope.lower())
        if found is None:
            raise documented("not found", resource=f"{PROVIDER}/workspaces/{rid.names[0]}", group=rid.group)
        return found

    async def put(self, rid: ResourceId, body: Body) -> Response:
        """Create a cluster, or change its scale settings; size and priority are immutable."""
        workspace = self.workspace(rid)
        for identity in (body.get("identity") or {}).get("userAssignedIdentities") or {}:
            self.arm.access.require_linked(actions.writes(rid, self.full), actions.assigns(identity))
        if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]", rid.name):
            raise failure("compute name", name=rid.name)
        wanted = body["properties"]["properties"]
        size = str(wanted["vmSize"]).upper()
        if size not in SIZES:
            raise failure("vm size", size=size, location=workspace.location)
        cluster = workspace.clusters.get(rid.name.lower())
        if cluster:
            _refuse_changes(cluster, wanted)
            cluster.body = body
        elif self.faults.take(("compute quota",), rid.path):
            raise failure("compute quota", family=SIZES[size], location=workspace.location)
        else:
            cluster = workspace.clusters[rid.name.lower()] = Cluster(rid.name, body)
        operation = self.arm.begin(rid, self._create(rid, cluster))
        kept = self.arm.keep(rid, self.full, {**body, "properties": {}})
        return JSONResponse(self.view(kept), 201, self.arm.headers(rid, operation, VERSION))

    async def _create(self, rid: ResourceId, cluster: Cluster) -> None:
        await asyncio.sleep(CREATE_SECONDS)
        if self.faults.take(("compute fails",), rid.path):
            cluster.state = "Failed"
            error = failure("compute fails", name=cluster.name)
            cluster.errors = [error.body]
            raise error
        cluster.state, cluster.modified = "Succeeded", now()
        self.scheduler.wake(self.workspace(rid), cluster)

    async def patch(self, rid: ResourceId, body: Body) -> Response:
        """Change scale settings."""
        self.arm.read(rid)
        cluster = self.workspace(rid).clusters[rid.name.lower()]
        cluster.properties["scaleSettings"] = body["properties"]["properties"]["scaleSettings"]
        return JSONResponse(self.view(self.arm.read(rid)))

    async def delete(self, rid: ResourceId) -> Response:
        """Delete: its jobs end, its nodes go."""
        if rid.path.lower() not in self.arm.resources:
            return Response(status_code=204)
        self.workspace(rid).clusters[rid.name.lower()].state = "Deleting"
        operation = self.arm.begin(rid, self.remove(rid))
        return Response(status_code=202, headers=self.arm.headers(rid, operation, VERSION))

    async def remove(self, rid: ResourceId) -> None:
        """End its jobs and forget it."""
        if workspace := self.known.get(rid.path.rpartition("/computes")[0].lower()):
            await self.scheduler.end(workspace.jobs_on(rid.name))
            workspace.clusters.pop(rid.name.lower(), None)
        await super().remove(rid)

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        """List the nodes."""
        if action != "listNodes":
            return await super().act(rid, action, body, request)
        cluster = self.workspace(rid).clusters[rid.name.lower()]
        states = ["idle"] * len(cluster.idle) + ["preparing"] * cluster.preparing + ["running"] * cluster.running
        return JSONResponse({"nodes": [{"nodeId": f"tvm-{n}", "nodeState": state} for n, state in enumerate(states)]})

    def view(self, resource: Body) -> Body:
        """The resource with the state that its nodes have now."""
        rid = resource["id"]
        scope = rid.lower().rpartition("/computes")[0]
        cluster = self.known[scope].clusters[resource["name"].lower()]
        given = cluster.body
        return {
            **{key: resource[key] for key in ("id", "name", "type", "location")},
            "tags": given.get("tags") or {},
            **({"identity": given["identity"]} if given.get("identity") else {}),
            "properties": {
                "computeType": "AmlCompute",
                "computeLocation": resource["location"],
                "description": given["properties"].get("description"),
                "resourceId": None,
                "isAttachedCompute": False,
                "createdOn": cluster.created,
                "modifiedOn": cluster.modified,
                "provisioningState": cluster.state,
                "provisioningErrors": cluster.errors or None,
                "properties": {**SHOWN, **cluster.properties, **_nodes(cluster)},
            },
        }


def _nodes(cluster: Cluster) -> dict[str, Any]:
    return {
        "allocationState": "Resizing" if cluster.preparing else "Steady",
        "allocationStateTransitionTime": cluster.modified,
        "currentNodeCount": len(cluster.idle) + cluster.running,
        "targetNodeCount": cluster.nodes,
        "errors": cluster.errors or None,
        "nodeStateCounts": {
            "idleNodeCount": len(cluster.idle),
            "leavingNodeCount": 0,
            "preemptedNodeCount": cluster.preempted,
            "preparingNodeCount": cluster.preparing,
            "runningNodeCount": cluster.running,
            "unusableNodeCount": 0,
        },
    }


def _refuse_changes(cluster: Cluster, wanted: dict[str, Any]) -> None:
    for name in ("vmSize", "vmPriority"):
        if str(wanted.get(name, "")).lower() != str(cluster.properties.get(name, "")).lower():
            raise failure("compute immutable", name=cluster.name, property=name)
