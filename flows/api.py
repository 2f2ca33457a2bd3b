"""The Prefect server of the settings, for processes that no worker told where it is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from mlops.adapters.sign_in import refuse_to_tell, servers_sign_in
from mlops.settings import Settings

CLOUD = ".prefect.cloud"
OWN = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY")
"""Prefect's own variables of a sign-in; a person has them for some server, perhaps another one."""


def sign_in_variables(settings: Settings) -> dict[str, str]:
    """The variables by which Prefect's clients sign in to the server of the settings.

    The sign-in of the installation's servers where one is told; else, for a server elsewhere (``prefect_url``), the
    variables of Prefect that this process has. Prefect Cloud is told these alone: it is none of the installation's.

    Raises:
        mlops.adapters.sign_in.SignInError, mlops.adapters.azure_vault.VaultError: the sign-in cannot be read.
        SettingsError: the server is on another machine, and its address is not https.
    """
    in_cloud = f".{urlsplit(settings.prefect_url).hostname}".endswith(CLOUD)
    if not in_cloud and (told := servers_sign_in(settings)):
        refuse_to_tell(settings.prefect_url, "prefect_url")
        return {"PREFECT_API_AUTH_STRING": told.text}
    own = OWN if settings.prefect_url else ()
    return {name: os.environ[name] for name in own if os.environ.get(name)}


@contextmanager
def prefect_api(settings: Settings) -> Iterator[None]:
    """Let Prefect's clients ask the server of the settings, signed in by ``sign_in_variables``.

    Raises:
        mlops.adapters.sign_in.SignInError, mlops.adapters.azure_vault.VaultError: the sign-in cannot be read.
    """
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    told = {PREFECT_API_URL: settings.prefect_api}
    # Prefect prefers it to a key, which a person's profile may have for another server.
    if auth := sign_in_variables(settings).get("PREFECT_API_AUTH_STRING"):
        told[PREFECT_API_AUTH_STRING] = auth
    with temporary_settings(told):
        yield
