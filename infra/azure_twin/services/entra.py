"""Entra ID: discovery and tokens for secrets, certificates, federated assertions and managed identities."""

from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin import entra_errors
from infra.azure_twin.directory import Principal
from infra.azure_twin.errors import AzureError
from infra.azure_twin.twin import Twin

HOST = "https://login.microsoftonline.com"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Entra:
    """The endpoints of one tenant."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    async def instances(self, _: Request) -> Response:
        """Instance discovery."""
        hosts = ["login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"]
        metadata = {"preferred_network": hosts[0], "preferred_cache": hosts[1], "aliases": hosts}
        endpoint = f"{HOST}/{self._twin.tokens.tenant}/v2.0/.well-known/openid-configuration"
        return JSONResponse({"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": [metadata]})

    async def configuration(self, request: Request) -> Response:
        """OpenID Connect discovery."""
        tenant = request.path_params["tenant"]
        if tenant not in (self._twin.tokens.tenant, "organizations", "common"):
            return entra_errors.response("no tenant", tenant)
        base = f"{HOST}/{tenant}"
        return JSONResponse(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "issuer": f"{base}/v2.0",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "response_types_supported": ["code", "token"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def keys(self, _: Request) -> Response:
        """The signing keys."""
        return JSONResponse(self._twin.tokens.keys())

    async def token(self, request: Request) -> Response:
        """The client credentials grant."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        client = form.get("client_id", "")
        if request.path_params["tenant"] != self._twin.tokens.tenant:
            return entra_errors.response("no tenant", request.path_params["tenant"])
        if form.get("grant_type") != "client_credentials":
            return entra_errors.response("grant", client)
        principal = self._twin.directory.find(client)
        if principal is None or principal.resource:
            return entra_errors.response("no client", client)
        if refused := self._check(principal, form):
            return entra_errors.response(refused, client)
        audience = (form.get("scope") or form.get("resource", "")).removesuffix("/.default")
        return JSONResponse(self._twin.tokens.issue(audience, client, principal.object_id))

    def _check(self, principal: Principal, form: dict[str, str]) -> str:
        """The name of the error that refuses a credential; empty when it is good."""
        if secret := form.get("client_secret"):
            return "" if secret in principal.secrets else "wrong secret"
        if form.get("client_assertion_type") != ASSERTION or not form.get("client_assertion"):
            return "no credential"
        claims = _claims(form["client_assertion"])
        if claims.get("aud") == "api://AzureADTokenExchange":
            return self._check_federated(principal, form["client_assertion"], claims)
        return "" if _is_signed(principal, form["client_assertion"]) else "bad assertion"

    def _check_federated(self, principal: Principal, assertion: str, claims: dict[str, Any]) -> str:
        try:
            self._twin.tokens.read(assertion)
        except AzureError:
            return "bad assertion"
        known = {(each.issuer, each.subject) for each in principal.federations}
        return "" if (claims["iss"], claims["sub"]) in known else "no federation"


class ManagedIdentities:
    """Where containers ask for tokens of their identities.

    A container of Container Apps finds ``IDENTITY_ENDPOINT``, whose header says who asks. One of Container Instances
    asks the instance metadata service, as https://learn.microsoft.com/en-us/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    has it; here its address says who asks.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin

    async def token(self, request: Request) -> Response:
        """A token of the container's only identity, or of the one it names."""
        allowed = self._twin.identities.get(request.headers.get("x-identity-header", ""))
        if allowed is None:
            return JSONResponse({"statusCode": 401, "message": "the identity header is wrong"}, 401)
        principal = _named(allowed, request)
        if principal is None:
            message = (
                "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId."
            )
            return JSONResponse({"statusCode": 400, "message": message}, 400)
        found = self._issue(principal, request)
        return JSONResponse({key: each for key, each in found.items() if key not in ("expires_in", "not_before")})

    async def metadata(self, request: Request) -> Response:
        """The same of the instance metadata service, which asks for the header ``Metadata``."""
        allowed = self._twin.identities.get(request.path_params["header"])
        if allowed is None:
            return JSONResponse({"error": "not_found", "error_description": "there is no such container"}, 404)
        if request.headers.get("metadata", "").lower() != "true":
            shown = {"error": "bad_request_102", "error_description": "Required metadata header not specified"}
            return JSONResponse(shown, 400)
        principal = _named(allowed, request)
        if principal is None:
            return JSONResponse({"error": "invalid_request", "error_description": "Identity not found"}, 400)
        return JSONResponse(self._issue(principal, request))

    def _issue(self, principal: Principal, request: Request) -> dict[str, str]:
        resource = request.query_params.get("resource", "")
        answer = self._twin.tokens.issue(resource, principal.client_id, principal.object_id)
        claims = self._twin.tokens.read(answer["access_token"])
        return {
            "access_token": answer["access_token"],
            "client_id": principal.client_id,
            "expires_in": str(answer["expires_in"]),
            "expires_on": str(claims["exp"]),
            "not_before": str(claims["nbf"]),
            "resource": resource,
            "token_type": "Bearer",
        }


def _named(allowed: list[Principal], request: Request) -> Principal | None:
    """The identity that a request names by its client or resource; the first one when it names none."""
    names = (request.query_params.get(each, "").lower() for each in ("client_id", "mi_res_id", "msi_res_id"))
    wanted = next(filter(None, names), "")
    return next((each for each in allowed if wanted in ("", each.client_id, each.resource.lower())), None)


def _claims(assertion: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(assertion, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims


def _is_signed(principal: Principal, assertion: str) -> bool:
    """Whether one of the principal's certificates signed an assertion."""
    for certificate in principal.certificates:
        key = x509.load_pem_x509_certificate(certificate).public_key()
        try:
            jwt.decode(assertion, key, algorithms=["RS256", "PS256"], options={"verify_aud": False})  # type: ignore[arg-type]
        except jwt.InvalidTokenError:
            continue
        return True
    return False


def install(twin: Twin) -> None:
    """Add the hosts of Entra ID and the endpoint of managed identities."""
    entra = Entra(twin)
    routes = [
        Route("/common/discovery/instance", entra.instances),
        Route("/{tenant}/v2.0/.well-known/openid-configuration", entra.configuration),
        Route("/{tenant}/.well-known/openid-configuration", entra.configuration),
        Route("/{tenant}/discovery/v2.0/keys", entra.keys),
        Route("/{tenant}/oauth2/v2.0/token", entra.token, methods=["POST"]),
        Route("/{tenant}/oauth2/token", entra.token, methods=["POST"]),
    ]
    for host in ("login.microsoftonline.com", "login.windows.net", "login.microsoft.com"):
        twin.hosts.add(host, Starlette(routes=routes))
    identities = ManagedIdentities(twin)
    twin.plain.append(Route("/identity/token", identities.token))
    twin.plain.append(Route("/imds/{header}/metadata/identity/oauth2/token", identities.metadata))
