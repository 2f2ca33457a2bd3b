"""Azure Resource Manager: resources, their types, and long-running operations."""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from infra.azure_twin import actions, subscriptions
from infra.azure_twin.access import CALLER, Access, Asked, Caller
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.gate import error_response, now
from infra.azure_twin.operations import Operation
from infra.azure_twin.resource_ids import ResourceId, parse
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.tokens import Tokens

AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
HOST = "https://management.azure.com"
ASSIGNMENTS = "Microsoft.Authorization/roleAssignments"


class Arm:
    """ASGI application of ``management.azure.com``."""

    def __init__(self, tokens: Tokens, subscription: str, location: str) -> None:
        self.tokens = tokens
        self.subscription = subscription
        self.location = location
        self.resources: dict[str, Body] = {}
        """By id in lower case."""
        self.operations: dict[str, Operation] = {}
        self._types: dict[str, ResourceType] = {}
        self.retry_after = 1
        self.public: dict[str, Any] = {}
        """Answers that need no sign-in, by path."""
        self.access = Access(lambda: [each["properties"] for each in self.of_type(ASSIGNMENTS)])

    def register(self, kind: ResourceType) -> None:
        """Add a type of resource."""
        self._types[kind.full.lower()] = kind

    def type_of(self, rid: ResourceId) -> ResourceType:
        """The type of a resource.

        Raises:
            AzureError: the twin has no such type.
        """
        found = self._types.get(rid.type) if rid.provider else self._types["microsoft.resources/resourcegroups"]
        if found is None:
            raise AzureError(
                404, "InvalidResourceType", f"The resource type '{rid.type}' could not be found in this Azure twin."
            )
        return found

    def forget(self) -> None:
        """Let go of what is kept of deleted resources, as if this were another subscription."""
        for kind in self._types.values():
            kind.forget()

    def keep(self, rid: ResourceId, full: str, body: Body) -> Body:
        """Store a resource with the envelope that Resource Manager gives it.

        Raises:
            AzureError: its resource group does not exist.
        """
        if rid.group and rid.provider:
            self.need_group(rid)
        made = {**body, "id": rid.path, "name": rid.name, "type": full}
        made.setdefault("location", self.location)
        self.resources[rid.path.lower()] = made
        return made

    def need_group(self, rid: ResourceId) -> Body:
        """The resource group of a resource.

        Raises:
            AzureError: it does not exist.
        """
        found = self.resources.get(f"/subscriptions/{rid.subscription}/resourcegroups/{rid.group}".lower())
        if found is None:
            raise documented("no group", group=rid.group)
        return found

    def read(self, rid: ResourceId) -> Body:
        """A resource.

        Raises:
            AzureError: it, or its resource group, does not exist.
        """
        if found := self.resources.get(rid.path.lower()):
            return found
        if rid.group:
            self.need_group(rid)
        raise documented("not found", resource=f"{rid.provider}/{rid.types[-1]}/{rid.name}", group=rid.group)

    def under(self, prefix: str) -> list[Body]:
        """Resources whose id begins with a path."""
        return [body for path, body in self.resources.items() if f"{path}/".startswith(f"{prefix.lower()}/")]

    def of_type(self, full: str) -> list[Body]:
        """Resources of a type."""
        return [body for body in self.resources.values() if body["type"] == full]

    def spelling(self, rid: ResourceId) -> str:
        """A type's name in Azure's spelling, or as it was asked for when the twin has no such type."""
        known = self._types.get(rid.type)
        return known.full if known else "/".join((rid.provider, *rid.types))

    def asked(self, request: Request) -> Asked:
        """What a request asks for."""
        return actions.asked(request.method, _path(request), self.spelling)

    def begin(self, rid: ResourceId, work: Awaitable[None]) -> Operation:
        """Start a long-running operation; an error of the work is its failure, whichever it is."""
        operation = Operation(id=str(uuid.uuid4()), path=rid.path)
        self.operations[operation.id] = operation

        async def run() -> None:
            try:
                await work
            except AzureError as error:
                operation.status, operation.error = "Failed", error
            except Exception as error:  # Who follows the operation would wait for ever.
                logging.getLogger(__name__).exception("the operation on %s failed", rid.path)
                operation.status = "Failed"
                operation.error = AzureError(500, "InternalServerError", f"{type(error).__name__}: {error}")
            else:
                operation.status = "Succeeded"
            operation.ended = now()

        operation.task = asyncio.get_running_loop().create_task(run())
        return operation

    def headers(self, rid: ResourceId, operation: Operation, version: str) -> dict[str, str]:
        """The headers with which a client follows an operation."""
        provider = rid.provider or "Microsoft.Resources"
        place = f"{HOST}/subscriptions/{rid.subscription}/providers/{provider}/locations/{self.location}"
        return {
            "Azure-AsyncOperation": f"{place}/operations/{operation.id}?api-version={version}",
            "Location": f"{place}/operationResults/{operation.id}?api-version={version}",
            "Retry-After": str(self.retry_after),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except AzureError as error:
            response = error_response(error)
        request_id = str(uuid.uuid4())
        response.headers["x-ms-request-id"] = request_id
        response.headers["x-ms-correlation-request-id"] = request_id
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = _path(request)
        if path in self.public:
            return JSONResponse(self.public[path])
        CALLER.set(Caller.of(self.tokens.authenticate(request, *AUDIENCES)))
        version = request.query_params.get("api-version", "")
        if not version:
            raise documented("no api version")
        if found := re.search(r"/locations/[^/]+/(operations|operationResults)/([^/]+)$", path, re.IGNORECASE):
            return self._follow(found[1].lower(), found[2], version)
        rid = parse(path)
        if rid.subscription and rid.subscription != self.subscription:
            raise AzureError(404, "SubscriptionNotFound", f"The subscription '{rid.subscription}' could not be found.")
        self.access.require(self.asked(request))
        if special := subscriptions.answer(self, path, request):
            return special
        return await self._dispatch(rid, request, version)

    async def _dispatch(self, rid: ResourceId, request: Request, version: str) -> Response:
        method = request.method
        rid, action = actions.split(method, rid)
        kind = self.type_of(rid)
        if kind.versions and version not in kind.versions:
            raise documented("api version", location=self.location, version=version, type=kind.full)
        body = await _json(request) if method in ("PUT", "PATCH", "POST") else {}
        match method:
            case "PUT":
                return await kind.put(rid, body)
            case "PATCH":
                return await kind.patch(rid, body)
            case "GET":
                return await (kind.find(rid, request.query_params) if rid.is_collection else kind.get(rid))
            case "HEAD":
                return Response(status_code=204 if rid.path.lower() in self.resources else 404)
            case "DELETE":
                return await kind.discard(rid, request.query_params)
            case "POST":
                return await kind.act(rid, action, body, request)
        raise AzureError(405, "MethodNotAllowed", f"{method} is not supported.")

    def _follow(self, kind: str, name: str, version: str) -> Response:
        told = "operationResults" if kind == "operationresults" else kind
        operation = self.operations.get(name)
        if operation is None:
            raise AzureError(404, "OperationNotFound", f"The operation '{name}' could not be found.")
        rid, waits = parse(operation.path), {"Retry-After": str(self.retry_after)}
        # A template's own are of the deployment, whose role has them; all others are of a place in the subscription,
        # for which Azure asks for a right on the resource group, where there is one.
        if rid.provider and rid.provider.lower() != "microsoft.resources":
            group = f"/subscriptions/{rid.subscription}" + (f"/resourceGroups/{rid.group}" if rid.group else "")
            self.access.require(Asked((f"{self.spelling(rid).partition('/')[0]}/locations/{told}/read",), group))
        if kind == "operations":
            return JSONResponse(operation.view(), headers={} if operation.ended else waits)
        if not operation.ended:
            return Response(status_code=202, headers=self.headers(rid, operation, version))
        if operation.error:
            raise operation.error
        if operation.result is not None:
            return JSONResponse(operation.result)
        found = self.resources.get(operation.path.lower())
        return JSONResponse(self.type_of(rid).view(found)) if found else Response(status_code=204)


def _path(request: Request) -> str:
    """The path; Azure forgives a doubled slash, and azureml-core sends one."""
    return "/" + request.url.path.strip("/")


async def _json(request: Request) -> Body:
    raw = await request.body()
    if not raw:
        return {}
    try:
        body = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise AzureError(400, "InvalidRequestContent", f"The request content was invalid: '{error}'.") from None
    return body
