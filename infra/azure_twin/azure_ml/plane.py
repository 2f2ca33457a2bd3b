"""The data plane: one application for the hosts of a workspace's services, found through its discovery URL."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin.access import CALLER, Access, Caller
from infra.azure_twin.azure_ml.actions import asked
from infra.azure_twin.azure_ml.blobs import Blobs
from infra.azure_twin.azure_ml.cluster import Scheduler
from infra.azure_twin.azure_ml.errors import failure
from infra.azure_twin.azure_ml.state import PROVIDER, Run, Workspace
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.tokens import Tokens

AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net", "https://ml.azure.com")
SCOPE = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{PROVIDER}/workspaces/{{workspace}}"
Handler = Callable[["Call"], Awaitable[Any]]


class Plane(msgspec.Struct, frozen=True):
    """What the handlers share."""

    known: dict[str, Workspace]
    scheduler: Scheduler
    blobs: Blobs
    tokens: Tokens
    access: Access


class Call:
    """One authenticated request to a workspace."""

    def __init__(self, plane: Plane, request: Request) -> None:
        self.plane = plane
        self.request = request
        self.path = request.path_params
        self.query = request.query_params
        scope = SCOPE.format(**{key: self.path[key] for key in ("subscription", "group", "workspace")})
        found = plane.known.get(scope.lower())
        if found is None:
            raise documented("not found", resource=f"{PROVIDER}/workspaces/{self.path['workspace']}", group=scope)
        self.workspace = found

    async def json(self) -> Any:
        """The body; an empty object where there is none."""
        raw = await self.request.body()
        return msgspec.json.decode(raw) if raw else {}

    @property
    def run(self) -> Run:
        """The run that the path names.

        Raises:
            AzureError: there is none.
        """
        found = self.workspace.runs.get(self.path["run"])
        if found is None:
            raise failure("no run", run=self.path["run"])
        return found

    @property
    def experiment(self) -> str:
        """The experiment that the path names, by name or by id."""
        if "experiment_id" in self.path:
            return self.workspace.experiment_name(self.path["experiment_id"])
        return str(self.path["experiment"])


def routes(plane: Plane, service: str, table: Mapping[tuple[str, str], Handler]) -> list[Route]:
    """Routes ``<service><workspace><path>`` for a table of method and path; handlers return JSON or a response."""

    def answer(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                CALLER.set(Caller.of(plane.tokens.authenticate(request, *AUDIENCES)))
                plane.access.require(asked(request.method, request.url.path))
                result = await handler(Call(plane, request))
            except AzureError as error:
                return service_error(error)
            return result if isinstance(result, Response) else JSONResponse(result)

        return endpoint

    return [
        Route(f"{service}{SCOPE}{path}", answer(handler), methods=[method]) for (method, path), handler in table.items()
    ]


def service_error(error: AzureError) -> Response:
    """An error as the data plane answers it: with a class above the code."""
    kind = "UserError" if error.status < 500 else "ServiceError"
    body = {"error": {"code": kind, "message": error.message, "innerError": {"code": error.code, "innerError": None}}}
    return JSONResponse(body, error.status, error.headers)
