"""Azure Machine Learning: its resource types, its data plane and the storage behind workspaces."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from infra.azure_twin import actions
from infra.azure_twin.access import CALLER, Caller
from infra.azure_twin.arm import Arm
from infra.azure_twin.azure_ml.assets import asset_routes
from infra.azure_twin.azure_ml.blobs import Blobs
from infra.azure_twin.azure_ml.cluster import Scheduler
from infra.azure_twin.azure_ml.data import DataVersions
from infra.azure_twin.azure_ml.execution import execution_routes
from infra.azure_twin.azure_ml.history import history_routes
from infra.azure_twin.azure_ml.plane import AUDIENCES, Plane
from infra.azure_twin.azure_ml.state import Workspace
from infra.azure_twin.azure_ml.workspaces import Computes, Workspaces
from infra.azure_twin.errors import AzureError
from infra.azure_twin.gate import error_response
from infra.azure_twin.resource_ids import parse
from infra.azure_twin.twin import Twin

SERVICES = (
    "api", "catalog", "experimentation", "gallery", "history", "hyperdrive", "labeling", "modelmanagement", "pipelines",
    "studio",
)  # fmt: skip
CLOUDS = [
    {
        "name": "AzureCloud",
        "portal": "https://portal.azure.com",
        "authentication": {
            "loginEndpoint": "https://login.microsoftonline.com",
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "media": "https://rest.media.azure.net",
        "graph": "https://graph.windows.net/",
        "graphAudience": "https://graph.windows.net/",
        "resourceManager": "https://management.azure.com/",
        "gallery": "https://gallery.azure.com/",
        "batch": "https://batch.core.windows.net/",
        "sqlManagement": "https://management.core.windows.net:8443/",
        "vmImageAliasDoc": "https://raw.githubusercontent.com/Azure/azure-rest-api-specs/main/arm-compute/aliases.json",
        "activeDirectoryDataLake": "https://datalake.azure.net/",
        "suffixes": {
            "storage": "core.windows.net",
            "keyVaultDns": "vault.azure.net",
            "sqlServerHostname": "database.windows.net",
            "acrLoginServer": "azurecr.io",
            "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
            "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
        },
    }
]
"""What Azure publishes of itself at /metadata/endpoints; SDK v1 asks for it before it signs in."""
FAULTS = {
    "compute quota": "409 ClusterCoreQuotaReached when a compute cluster is made",
    "compute fails": "creating a compute cluster ends in ComputeCreationFailed",
    "no nodes": "one try to allocate a node of a cluster ends in AllocationFailed",
    "preempted": "`seconds` after a job's start its low-priority node is taken away",
    "job crash": "a job's process ends with exit code 1 as soon as it is started",
}


def install(twin: Twin) -> None:
    """Add the types, hosts and faults."""
    for kind, meaning in FAULTS.items():
        twin.faults.describe(kind, meaning)
    known: dict[str, Workspace] = {}
    blobs = Blobs(twin.state / "azure-ml" / "blobs")
    scheduler = Scheduler(twin, blobs)
    plane = Plane(known, scheduler, blobs, twin.tokens, twin.arm.access)
    twin.arm.register(Workspaces(twin.arm, known, scheduler))
    twin.arm.register(DataVersions(twin.arm))
    twin.arm.register(Computes(twin.arm, known, scheduler, twin.faults))
    twin.arm.public["/metadata/endpoints"] = CLOUDS
    twin.stoppers.append(scheduler.close)
    own = [Route("/discovery", _discover), Route("/rp/workspaces{path:path}", Mirror(twin.arm).get)]
    app = Starlette(routes=[*own, *history_routes(plane), *execution_routes(plane), *asset_routes(plane)])
    twin.hosts.add("*.api.azureml.ms", app)
    twin.hosts.add("*.blob.core.windows.net", _BlobApp(blobs))
    twin.plain.append(Route("/twin/azure-ml/identity", scheduler.nodes.token))


class Mirror:
    """What the region's own endpoint answers of Resource Manager: the SDK reads computes there."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    async def get(self, request: Request) -> Response:
        """Read a resource."""
        try:
            CALLER.set(Caller.of(self._arm.tokens.authenticate(request, *AUDIENCES)))
            path = request.path_params["path"]
            rid = parse(path)
            self._arm.access.require(actions.asked("GET", path, self._arm.spelling))
            return await self._arm.type_of(rid).get(rid)
        except AzureError as error:
            return error_response(error)


async def _discover(request: Request) -> Response:
    """Where the services of a region are: all on one host."""
    return JSONResponse(dict.fromkeys(SERVICES, f"https://{request.headers['host']}"))


class _BlobApp:
    """ASGI application of the storage accounts."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._blobs.answer(Request(scope, receive))
        await response(scope, receive, send)
