"""Signing in to Azure: one function that gives the credential which every Azure SDK takes."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.settings import Settings, SettingsError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

SECRET_FILE = "azure-client-secret"  # noqa: S105 - A file's name.
CERTIFICATE_FILE = "azure-client-certificate.pem"
SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105 - A variable's name.
CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
PASSWORD = "AZURE_CLIENT_CERTIFICATE_PASSWORD"  # noqa: S105 - A variable's name.
TOKEN = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 - A variable's name.


def credential(settings: Settings, environ: Mapping[str, str] | None = None) -> "TokenCredential":
    """The credential that the settings describe; it signs in when it is first used.

    ``azure_sign_in`` chooses: ``secret`` (file ``azure-client-secret`` in the secrets folder, or the variable
    ``AZURE_CLIENT_SECRET``), ``certificate`` (file ``azure-client-certificate.pem``, or
    ``AZURE_CLIENT_CERTIFICATE_PATH``), ``managed_identity``, ``workload_identity`` (federated: AKS, GitHub,
    Azure DevOps; the token's file is ``AZURE_FEDERATED_TOKEN_FILE``), or ``default``: azure-identity's chain.

    Raises:
        SettingsError: a setting or secret that this way of signing in needs is missing; the message names it.
    """
    environ = os.environ if environ is None else environ
    # Each token request would be a line of the log at level INFO.
    logging.getLogger("azure").setLevel(logging.WARNING)
    return {
        "default": _default,
        "secret": _secret,
        "certificate": _certificate,
        "managed_identity": _managed_identity,
        "workload_identity": _workload_identity,
    }[settings.azure_sign_in](settings, environ)


def read_secret(settings: Settings, name: str) -> str:
    """A mounted secret, stripped; empty when there is no such file.

    Raises:
        SettingsError: the file cannot be read.
    """
    file = settings.secrets / name
    try:
        return file.read_text("utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the secret {file} cannot be read: {type(error).__name__}") from None


def _secret(settings: Settings, environ: Mapping[str, str]) -> "TokenCredential":
    from azure.identity import ClientSecretCredential

    settings.require("azure_tenant", "azure_client_id")
    secret = read_secret(settings, SECRET_FILE) or environ.get(SECRET, "")
    if not secret:
        raise _missing(settings, f"the secret in the file {settings.secrets / SECRET_FILE} or in {SECRET}")
    return ClientSecretCredential(settings.azure_tenant, settings.azure_client_id, secret)


def _certificate(settings: Settings, environ: Mapping[str, str]) -> "TokenCredential":
    from azure.identity import CertificateCredential

    settings.require("azure_tenant", "azure_client_id")
    own = settings.secrets / CERTIFICATE_FILE
    file = own if own.is_file() else Path(environ.get(CERTIFICATE, ""))
    if not file.is_file():
        raise _missing(settings, f"a certificate with its private key in the file {own} or named by {CERTIFICATE}")
    password = environ.get(PASSWORD) or None
    try:
        return CertificateCredential(settings.azure_tenant, settings.azure_client_id, str(file), password=password)
    except ValueError as error:
        raise SettingsError(f"{file} is no certificate to sign in with: {error}") from None


def _managed_identity(settings: Settings, _environ: Mapping[str, str]) -> "TokenCredential":
    from azure.identity import ManagedIdentityCredential

    # A flow run knows both identities, since it makes scoring services; a scoring service only its own.
    own = settings.azure_flow_identity or settings.azure_identity
    if own and not settings.azure_client_id:
        return ManagedIdentityCredential(identity_config={"resource_id": own})
    return ManagedIdentityCredential(client_id=settings.azure_client_id or None)


def _workload_identity(settings: Settings, environ: Mapping[str, str]) -> "TokenCredential":
    from azure.identity import WorkloadIdentityCredential

    settings.require("azure_tenant", "azure_client_id")
    file = environ.get(TOKEN, "")
    if not Path(file).is_file():
        raise _missing(settings, f"the federated token's file in {TOKEN}, which is {file!r}")
    return WorkloadIdentityCredential(
        tenant_id=settings.azure_tenant, client_id=settings.azure_client_id, token_file_path=file
    )


def _default(settings: Settings, _environ: Mapping[str, str]) -> "TokenCredential":
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(
        managed_identity_client_id=settings.azure_client_id or None,
        workload_identity_client_id=settings.azure_client_id or None,
        exclude_interactive_browser_credential=True,
    )


def _missing(settings: Settings, what: str) -> SettingsError:
    return SettingsError(f"azure_sign_in = {settings.azure_sign_in!r} (MLOPS_AZURE_SIGN_IN) needs {what}")
