"""A sign-in before a server that has none of its own: HTTP Basic with the installation's one user and password."""

import base64
import hmac
import os

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from mlops.adapters.sign_in import VARIABLE, SignIn, parse


class BasicAuthentication(AuthenticationBackend):
    """Knows one user; ``open_paths`` are asked by probes, which know none."""

    def __init__(self, expected: SignIn, open_paths: frozenset[str]) -> None:
        self._expected = expected.text.encode()
        self._open_paths = open_paths

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        """The caller, or nobody on an open path.

        Raises:
            AuthenticationError: the request has no sign-in, or another one.
        """
        if conn.scope["path"] in self._open_paths:  # Not the URL's, in which the Host header has a say.
            return None
        scheme, _, told = conn.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(told.strip(), validate=True) if scheme.lower() == "basic" else b""
        except ValueError:  # No Base64, or no ASCII.
            given = b""
        # Of the whole, so that the time tells neither the user nor the length of what is right.
        if not hmac.compare_digest(given, self._expected):
            raise AuthenticationError("sign in with the user and password of the servers")
        return AuthCredentials(["authenticated"]), SimpleUser(given.partition(b":")[0].decode())


def guarded(app: ASGIApp, expected: SignIn, *open_paths: str) -> ASGIApp:
    """The application behind the sign-in; but for the open paths, nothing of it answers without."""
    return AuthenticationMiddleware(app, BasicAuthentication(expected, frozenset(open_paths)), _challenge)


def expected_sign_in() -> SignIn:
    """What this process asks for, from its environment.

    Raises:
        SignInError: there is none: a server that was to be guarded must not start without.
    """
    return parse(os.environ.get(VARIABLE, ""), f"the variable {VARIABLE}")


def is_guarded() -> bool:
    """Whether this process was told a sign-in; an empty one, too, which then is refused."""
    return VARIABLE in os.environ


def _challenge(_: HTTPConnection, error: AuthenticationError) -> PlainTextResponse:
    headers = {"WWW-Authenticate": 'Basic realm="mlops", charset="UTF-8"'}
    return PlainTextResponse(f"{error}\n", status_code=401, headers=headers)
