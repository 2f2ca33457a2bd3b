"""How each service refuses a caller: what the fault ``forbidden`` answers, whoever asks for whatever."""

from typing import TYPE_CHECKING

import jwt
from starlette.requests import Request

from infra.azure_twin.access import CALLER, Asked, Caller, forbidden
from infra.azure_twin.azure_ml import actions as azure_ml
from infra.azure_twin.errors import AzureError
from infra.azure_twin.vaults import FULL

if TYPE_CHECKING:
    from infra.azure_twin.twin import Twin


def refusal(twin: "Twin", request: Request) -> AzureError:
    """The refusal of a request in the words of the service that it is to."""
    from infra.azure_twin.services import key_vault

    CALLER.set(Caller.of(_claims(request)))
    host = request.headers.get("host", "").partition(":")[0].lower()
    if host.endswith(key_vault.SUFFIX):
        wanted = key_vault.asked(request, twin.arm.of_type(FULL))
        return key_vault.refusal(wanted.actions[0], wanted.scope, twin.arm.location)
    wanted = twin.arm.asked(request) if host == "management.azure.com" else _of_workspace(request)
    return forbidden(wanted.actions[0] if wanted.actions else "*/read", wanted.scope or request.url.path)


def _of_workspace(request: Request) -> Asked:
    try:
        return azure_ml.asked(request.method, request.url.path)
    except ValueError:
        return Asked((), "")


def _claims(request: Request) -> dict[str, str]:
    token = request.headers.get("authorization", "").partition(" ")[2]
    try:
        found: dict[str, str] = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return found
