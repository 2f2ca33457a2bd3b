"""Entra's error answers, as its reference of AADSTS codes lists them."""

import datetime
import uuid

import msgspec
from starlette.responses import JSONResponse, Response

SOURCE = "https://learn.microsoft.com/en-us/entra/identity-platform/reference-error-codes"


class EntraError(msgspec.Struct, frozen=True):
    """One AADSTS error; the text has a placeholder for the application."""

    status: int
    error: str
    code: int
    text: str
    source: str = SOURCE


KNOWN = {
    "wrong secret": EntraError(
        401,
        "invalid_client",
        7000215,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not "
        "the client secret ID, for a secret added to app '{app}'.",
    ),
    "expired secret": EntraError(
        401,
        "invalid_client",
        7000222,
        "The provided client secret keys for app '{app}' are expired.",
    ),
    "no client": EntraError(
        400, "unauthorized_client", 700016, "Application with identifier '{app}' was not found in the directory."
    ),
    "no tenant": EntraError(400, "invalid_request", 90002, "Tenant '{app}' not found."),
    "bad assertion": EntraError(
        401, "invalid_client", 700027, "Client assertion failed signature validation for application '{app}'."
    ),
    "no federation": EntraError(
        400,
        "invalid_client",
        70021,
        "No matching federated identity record found for presented assertion of application '{app}'.",
    ),
    "no credential": EntraError(
        401,
        "invalid_client",
        7000218,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    "grant": EntraError(400, "unsupported_grant_type", 70003, "The application requested an unsupported grant type."),
}


def response(name: str, app: str) -> Response:
    """The answer of the token endpoint with a known error about an application."""
    known = KNOWN[name]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    text = f"AADSTS{known.code}: {known.text.format(app=app)}"
    return JSONResponse(
        {
            "error": known.error,
            "error_description": f"{text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}",
            "error_codes": [known.code],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={known.code}",
        },
        known.status,
    )
