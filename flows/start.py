"""Starts a flow run in a container: fetches the servers' password by the container's identity, becomes the command.

A worker would otherwise write the password into what it asks Azure for, and Resource Manager keeps the template of each
deployment as it was sent, secure values included, for everybody who may export it.
"""

import os
import sys
import time

from mlops import settings as settings_module
from mlops.adapters.azure_vault import VaultError
from mlops.adapters.sign_in import VARIABLE, SignInError, servers_sign_in
from mlops.settings import Settings, SettingsError

WAITS = (2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between tries: a container may start before Azure gives its identity tokens."""


def main(command: list[str]) -> int:
    """Replace this process by the command; return 1 when the password cannot be had."""
    try:
        settings = settings_module.load()
        if settings.azure_servers_secret:
            _sign_in(settings)
    except (SettingsError, SignInError, VaultError) as error:
        sys.stderr.write(f"the flow run cannot start: {error}\n")
        return 1
    os.execvp(command[0], command)  # noqa: S606


def _sign_in(settings: Settings) -> None:
    for wait in (*WAITS, None):
        try:
            told = servers_sign_in(settings)
        except VaultError as error:
            if wait is None:
                raise
            sys.stderr.write(f"{error}; tried again in {wait:g} s\n")
            time.sleep(wait)
        else:
            if told:
                os.environ |= {"PREFECT_API_AUTH_STRING": told.text, VARIABLE: told.text}
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
