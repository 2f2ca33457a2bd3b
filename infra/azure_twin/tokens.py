"""Access tokens of the twin's Entra ID: signed, decodable, checked by the services that receive them."""

import datetime
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request

from infra.azure_twin.errors import documented

LIFE_SECONDS = 3600
KEY_ID = "azure-twin"


class Tokens:
    """Makes tokens and reads them again."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.life = LIFE_SECONDS
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def issue(self, audience: str, client: str, principal: str) -> dict[str, Any]:
        """A token answer for a principal; ``audience`` is the resource without ``/.default``."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.life,
            "appid": client,
            "azp": client,
            "idtyp": "app",
            "oid": principal,
            "sub": principal,
            "tid": self.tenant,
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
        }
        token = jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": KEY_ID})
        return {"token_type": "Bearer", "expires_in": self.life, "ext_expires_in": self.life, "access_token": token}

    def keys(self) -> dict[str, Any]:
        """The key set with which others check the tokens."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": KEY_ID, "use": "sig"}]}

    def federated(self, issuer: str, subject: str) -> str:
        """An assertion of an outside issuer (a pipeline, a cluster) that the twin stands in for."""
        now = int(time.time())
        claims = {"iss": issuer, "sub": subject, "aud": "api://AzureADTokenExchange", "iat": now, "exp": now + 86400}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": KEY_ID})

    def read(self, token: str, audiences: tuple[str, ...] | None = None) -> dict[str, Any]:
        """The claims of a token.

        Raises:
            AzureError: it is not of this twin, not for these audiences, or expired.
        """
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self._key.public_key(), algorithms=["RS256"], options={"verify_aud": False}
            )
        except jwt.ExpiredSignatureError:
            old = jwt.decode(token, options={"verify_signature": False})
            expiry = datetime.datetime.fromtimestamp(old["exp"], datetime.UTC)
            now = datetime.datetime.now(datetime.UTC)
            raise documented("expired token", expiry=expiry, time=now) from None
        except jwt.InvalidTokenError as error:
            raise documented("invalid token", reason=error) from None
        if audiences and claims["aud"].rstrip("/") not in audiences:
            raise documented("invalid token", reason=f"its audience is {claims['aud']}")
        return claims

    def authenticate(self, request: Request, *audiences: str) -> dict[str, Any]:
        """The claims of a request's bearer token.

        Raises:
            AzureError: there is none, or ``read`` refuses it.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise documented("no token")
        return self.read(token, audiences)
