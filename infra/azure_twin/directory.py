"""The twin's directory: applications with their credentials, and managed identities."""

import datetime
import secrets
import uuid

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


class Federation(msgspec.Struct, frozen=True):
    """Whose assertions an application accepts."""

    issuer: str
    subject: str


class Principal(msgspec.Struct, kw_only=True):
    """An application or a managed identity."""

    client_id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    object_id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    secrets: list[str] = []
    certificates: list[bytes] = []
    """PEM."""
    federations: list[Federation] = []
    resource: str = ""
    """The Azure resource of a managed identity."""


class Directory:
    """Principals by client id."""

    def __init__(self) -> None:
        self._principals: dict[str, Principal] = {}

    def add(self, principal: Principal) -> Principal:
        """Add or replace a principal."""
        self._principals[principal.client_id] = principal
        return principal

    def find(self, client: str) -> Principal | None:
        """By client id."""
        return self._principals.get(client)

    def of_resource(self, resource: str) -> Principal:
        """The managed identity of an Azure resource, made when new."""
        for principal in self._principals.values():
            if principal.resource == resource.lower():
                return principal
        return self.add(Principal(resource=resource.lower()))


def new_secret() -> str:
    """A client secret that looks like Entra's."""
    return f"{secrets.token_urlsafe(3)[:3]}8Q~{secrets.token_urlsafe(25)}"


def new_certificate() -> tuple[bytes, bytes]:
    """A private key with its certificate, and the certificate alone, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mlops")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    return private + public, public
