"""Who asks the installation's servers: one user and password for Prefect, MLflow, the reports and Evidently's pages."""

import os
from collections.abc import Mapping
from functools import cache
from urllib.parse import urlsplit

from mlops.adapters.azure_auth import read_secret
from mlops.settings import Settings, SettingsError

VARIABLE = "MLOPS_SERVERS_SIGN_IN"
"""``user:password``; no setting, since settings are handed to containers in the open."""
FILE = "servers-sign-in"
"""The same, in the secrets folder."""


class SignInError(ValueError):
    """The sign-in has another form; the message says where it is, never what is there."""


class SignIn:
    """A user and a password, which no ``repr`` shows."""

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password

    @property
    def text(self) -> str:
        """``user:password``, as Prefect takes it."""
        return f"{self.user}:{self.password}"

    def __repr__(self) -> str:
        return f"SignIn(user={self.user!r})"


def servers_sign_in(settings: Settings, environ: Mapping[str, str] | None = None) -> SignIn | None:
    """What the servers ask for; nothing when nothing is told.

    It is in ``MLOPS_SERVERS_SIGN_IN``, else in the file ``servers-sign-in`` of the secrets folder, else in the vault's
    secret that ``azure_servers_secret`` names.

    Raises:
        SignInError: it is no ``user:password``, or the vault has it not.
        mlops.adapters.azure_vault.VaultError: the vault refused, or does not answer; another try may help.
        SettingsError: the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    if text := environ.get(VARIABLE, ""):
        return parse(text, VARIABLE)
    if text := read_secret(settings, FILE):
        return parse(text, str(settings.secrets / FILE))
    if name := settings.azure_servers_secret:
        return parse(_held(settings, name), f"the secret {name!r} of {settings.azure_key_vault}")
    return None


def parse(text: str, where: str) -> SignIn:
    """The sign-in of ``user:password``, in characters that every server reads alike.

    Raises:
        SignInError: it has another form; the message names the place.
    """
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise SignInError(f"{where} holds no user:password for the servers")
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise SignInError(
            f"{where}: user and password must be of printable ASCII characters, without a space at either end"
        )
    return SignIn(user, password)


def refuse_to_tell(url: str, setting: str) -> None:
    """Let no password go over a network in the open.

    Args:
        url: of a server elsewhere; empty for the embedded one, which is on this machine.
        setting: that names it.

    Raises:
        SettingsError: the server is on another machine, and its address is not https.
    """
    asked = urlsplit(url)
    if asked.scheme == "http" and asked.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise SettingsError(f"{setting} {url} would be told a password in the open: give it an https address")


@cache
def _held(settings: Settings, name: str) -> str:
    """Read once in a process: a stack of seven parts would ask seven times."""
    from mlops.adapters.azure_vault import Vault

    settings.require("azure_key_vault")
    return Vault(settings).get(name)
