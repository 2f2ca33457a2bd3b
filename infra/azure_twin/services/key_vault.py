"""Key Vault: the secrets of vaults that exist in the subscription; each asks for roles, as one with RBAC does."""

import time
import uuid
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin.access import CALLER, Asked, Caller
from infra.azure_twin.directory import Principal
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.gate import error_response
from infra.azure_twin.resource_types import Body
from infra.azure_twin.twin import Twin
from infra.azure_twin.vaults import FULL, Versions, register

SUFFIX = ".vault.azure.net"
AUDIENCE = "https://vault.azure.net"


class KeyVault:
    """Secrets by vault and name, newest version last."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._vaults: dict[str, dict[str, Versions]] = {}
        register(twin.arm, self._vaults)

    async def secret(self, request: Request) -> Response:
        """PUT, GET and DELETE of one secret."""
        return await self._guarded(request, self._one)

    async def secrets(self, request: Request) -> Response:
        """The list of secrets, without values."""
        return await self._guarded(request, self._all)

    def read(self, url: str, principal: Principal) -> str:
        """The newest value at a secret's address, as a service of Azure reads it under an identity.

        Raises:
            AzureError: there is none, or the identity may not read it.
        """
        host, _, name = url.removeprefix("https://").partition("/secrets/")
        vault = host.partition(SUFFIX)[0].lower()
        found = next((each["id"] for each in self._twin.arm.of_type(FULL) if each["name"].lower() == vault), "")
        action, scope = f"{FULL}/secrets/getSecret/action", f"{found}/secrets/{name}"
        if not found or not self._twin.arm.access.allows(principal.object_id, action, scope, data=True):
            raise AzureError(403, "Forbidden", f"{principal.client_id} may not read {url}.")
        if name not in self._vaults.get(vault, {}):
            raise AzureError(404, "SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault.")
        return str(self._vaults[vault][name][-1]["value"])

    async def _guarded(self, request: Request, answer: Any) -> Response:
        vault = request.headers["host"].partition(SUFFIX)[0]
        known = self._twin.arm.of_type(FULL)
        try:
            if vault not in {each["name"].lower() for each in known}:
                raise AzureError(404, "VaultNotFound", f"There is no vault {vault!r} in the subscription.")
            CALLER.set(Caller.of(self._twin.tokens.authenticate(request, AUDIENCE)))
            wanted = asked(request, self._twin.arm.of_type(FULL))
            if action := self._twin.arm.access.missing(wanted):
                raise refusal(action, wanted.scope, self._twin.arm.location)
            result: Response = await answer(request, self._vaults.setdefault(vault, {}), f"https://{vault}{SUFFIX}")
        except AzureError as error:
            if error.status == 401:
                # By this answer the SDK learns for which tenant and resource it needs a token.
                authority = f"https://login.microsoftonline.com/{self._twin.tokens.tenant}"
                error.headers["WWW-Authenticate"] = f'Bearer authorization="{authority}", resource="{AUDIENCE}"'
            return error_response(error)
        return result

    async def _one(self, request: Request, vault: dict[str, Versions], url: str) -> Response:
        name = request.path_params["name"]
        if request.method == "PUT":
            body = msgspec.json.decode(await request.body(), type=dict[str, Any])
            moment = int(time.time())
            attributes = {"enabled": True, "created": moment, "updated": moment, "recoveryLevel": "Recoverable"}
            made = {"value": body["value"], "id": f"{url}/secrets/{name}/{uuid.uuid4().hex}", "attributes": attributes}
            vault.setdefault(name, []).append(made | {"tags": body.get("tags") or {}})
            return JSONResponse(vault[name][-1])
        if name not in vault:
            message = f"A secret with (name/id) {name} was not found in this key vault."
            raise AzureError(404, "SecretNotFound", message)
        if request.method == "DELETE":
            last = vault.pop(name)[-1]
            return JSONResponse({key: each for key, each in last.items() if key != "value"})
        version = request.path_params.get("version", "")
        found = [each for each in vault[name] if each["id"].endswith(version)]
        if not found:
            raise AzureError(404, "SecretNotFound", f"A secret with (name/id) {name}/{version} was not found.")
        return JSONResponse(found[-1])

    async def _all(self, request: Request, vault: dict[str, Versions], url: str) -> Response:
        shown = [
            {"id": f"{url}/secrets/{name}", "attributes": versions[-1]["attributes"], "tags": versions[-1]["tags"]}
            for name, versions in vault.items()
        ]
        return JSONResponse({"value": shown, "nextLink": None})


def asked(request: Request, vaults: list[Body]) -> Asked:
    """What a request asks for: a data action on a secret, or on the vault when it lists them."""
    name = request.headers["host"].partition(SUFFIX)[0]
    vault = next((each["id"] for each in vaults if each["name"].lower() == name), f"/vaults/{name}")
    parts = request.url.path.strip("/").split("/")
    if len(parts) == 1:
        return Asked((f"{FULL}/secrets/readMetadata/action",), vault, data=True)
    action = {"PUT": "setSecret/action", "DELETE": "delete"}.get(request.method, "getSecret/action")
    return Asked((f"{FULL}/secrets/{action}",), f"{vault}/secrets/{parts[1]}", data=True)


def refusal(action: str, scope: str, location: str) -> AzureError:
    """A vault's refusal of the caller."""
    caller, vault = CALLER.get(), scope.partition("/vaults/")[2].partition("/")[0]
    return documented(
        "vault forbidden", client=caller.client, object=caller.object, issuer=caller.issuer, action=action,
        resource=scope.lower(), vault=vault, location=location,
    )  # fmt: skip


def install(twin: Twin) -> None:
    """Add the hosts of vaults."""
    vault = KeyVault(twin)
    twin.read_secret = vault.read
    methods = ["GET", "PUT", "DELETE"]
    routes = [
        Route("/secrets", vault.secrets),
        Route("/secrets/{name}", vault.secret, methods=methods),
        Route("/secrets/{name}/", vault.secret, methods=methods),
        Route("/secrets/{name}/{version}", vault.secret),
    ]
    twin.hosts.add(f"*{SUFFIX}", Starlette(routes=routes))
