"""Secrets in Azure Key Vault, where every container of an installation finds them."""

from typing import TYPE_CHECKING

from mlops.adapters.azure_auth import credential
from mlops.settings import Settings

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError


class VaultError(Exception):
    """The vault refused, or does not answer."""


class Vault:
    """The vault that ``azure_key_vault`` names."""

    def __init__(self, settings: Settings) -> None:
        from azure.keyvault.secrets import SecretClient

        self._url = settings.azure_key_vault
        self._client = SecretClient(self._url, credential(settings), connection_timeout=10, read_timeout=30)

    def get(self, name: str) -> str:
        """A secret's newest version; empty when there is none.

        Raises:
            VaultError: it cannot be read.
        """
        from azure.core.exceptions import AzureError, ResourceNotFoundError

        try:
            return self._client.get_secret(name).value or ""
        except ResourceNotFoundError:
            return ""
        except AzureError as error:
            raise VaultError(f"{self._url}: secret {name!r} cannot be read: {_words(error)}") from None

    def set(self, name: str, value: str) -> None:
        """Write a new version of a secret.

        Raises:
            VaultError: it cannot be written.
        """
        from azure.core.exceptions import AzureError

        try:
            self._client.set_secret(name, value)
        except AzureError as error:
            raise VaultError(f"{self._url}: secret {name!r} cannot be written: {_words(error)}") from None


def _words(error: "AzureError") -> str:
    """Azure's words on one line: those after the first say who may not do what."""
    return " ".join(str(error.message).split())
