"""The control endpoint on the twin's own address: faults, events of the platform, what was asked, what exists."""

import re

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin.directory import new_secret
from infra.azure_twin.errors import AzureError
from infra.azure_twin.faults import Fault, UnknownFault
from infra.azure_twin.gate import error_response
from infra.azure_twin.resource_ids import parse
from infra.azure_twin.twin import Twin


class Control:
    """What tests and demos ask of the twin itself; Azure has nothing like it."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._headers: dict[str, str] = {}
        """Identity headers of processes of this machine, by the principal whose token they ask for."""

    async def faults(self, request: Request) -> Response:
        """GET the waiting faults and the kinds, POST one, DELETE all."""
        faults = self._twin.faults
        if request.method == "DELETE":
            faults.clear()
        if request.method == "POST":
            try:
                faults.add(msgspec.json.decode(await request.body(), type=Fault))
            except (UnknownFault, msgspec.DecodeError, re.error) as error:
                return JSONResponse({"error": str(error)}, 422)
        waiting = [msgspec.to_builtins(each) for each in faults.waiting()]
        return JSONResponse({"waiting": waiting, "kinds": faults.kinds})

    async def exchanges(self, request: Request) -> Response:
        """GET what was asked and answered, by ``method`` and ``path``; DELETE forgets it."""
        if request.method == "DELETE":
            self._twin.exchanges.clear()
        found = self._twin.exchanges.find(request.query_params.get("method", ""), request.query_params.get("path", ""))
        return JSONResponse(msgspec.to_builtins(found))

    async def resources(self, request: Request) -> Response:
        """GET every resource, as its readers see it; ``type`` filters. DELETE removes all, and what is soft-deleted."""
        if request.method == "DELETE":
            for each in sorted(self._twin.arm.resources.values(), key=lambda body: -len(body["id"])):
                await self._twin.arm.type_of(parse(each["id"])).remove(parse(each["id"]))
            self._twin.arm.forget()
        wanted = request.query_params.get("type", "").lower()
        found = [
            self._twin.arm.type_of(parse(each["id"])).view(each)
            for each in list(self._twin.arm.resources.values())
            if wanted in each["type"].lower()
        ]
        return JSONResponse(found)

    async def restart(self, request: Request) -> Response:
        """POST an event of the platform: the group named by ``resource`` restarts, with ``move`` at a new address."""
        body = msgspec.json.decode(await request.body(), type=dict[str, str | bool])
        try:
            await self._twin.container_groups.restart_by_platform(parse(str(body["resource"])), bool(body.get("move")))
        except AzureError as error:
            return error_response(error)
        return Response(status_code=204)

    async def identities(self, request: Request) -> Response:
        """POST ``resource``, a user-assigned identity: the variables by which a process of this machine has it.

        It stands for what runs on Azure where the twin has nothing: an app of Container Apps, a virtual machine.
        """
        body = msgspec.json.decode(await request.body(), type=dict[str, str])
        principal = self._twin.directory.of_resource(body["resource"])
        header = self._headers.setdefault(principal.object_id, new_secret())
        self._twin.identities[header] = [principal]
        url = f"{self._twin.url}/identity/token"
        found = {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": header, "AZURE_CLIENT_ID": principal.client_id}
        return JSONResponse(found | {"principalId": principal.object_id})

    async def tokens(self, request: Request) -> Response:
        """POST ``seconds``: how long tokens issued from now on are valid."""
        self._twin.tokens.life = msgspec.json.decode(await request.body(), type=dict[str, int])["seconds"]
        return Response(status_code=204)


def install(twin: Twin) -> None:
    """Add the endpoint; it is on loopback, without TLS, and no host of Azure."""
    control = Control(twin)
    twin.plain += [
        Route("/twin/faults", control.faults, methods=["GET", "POST", "DELETE"]),
        Route("/twin/exchanges", control.exchanges, methods=["GET", "DELETE"]),
        Route("/twin/resources", control.resources, methods=["GET", "DELETE"]),
        Route("/twin/restart", control.restart, methods=["POST"]),
        Route("/twin/tokens", control.tokens, methods=["POST"]),
        Route("/twin/identities", control.identities, methods=["POST"]),
    ]
