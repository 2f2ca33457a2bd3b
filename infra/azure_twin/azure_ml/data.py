"""Data assets as Resource Manager answers for them: containers with immutable versions."""

from starlette.responses import Response

from infra.azure_twin.arm import Arm
from infra.azure_twin.azure_ml.errors import failure
from infra.azure_twin.azure_ml.state import PROVIDER
from infra.azure_twin.resource_ids import ResourceId
from infra.azure_twin.resource_types import Body, ResourceType


class DataVersions(ResourceType):
    """``Microsoft.MachineLearningServices/workspaces/data/versions``; the container comes with the first one."""

    def __init__(self, arm: Arm) -> None:
        super().__init__(arm, f"{PROVIDER}/workspaces/data/versions")

    async def put(self, rid: ResourceId, body: Body) -> Response:
        """Register a version; what it points to never changes, description and tags may."""
        known = self.arm.resources.get(rid.path.lower())
        wanted = body.get("properties", {})
        if wanted.get("dataType") not in ("uri_file", "uri_folder", "mltable") or not wanted.get("dataUri"):
            raise failure("data asset", name=rid.names[1])
        if known and any(known["properties"][key] != wanted[key] for key in ("dataType", "dataUri")):
            raise failure("data immutable", name=rid.names[1], version=rid.name)
        return await super().put(rid, body)
