"""Starts a flow run inside of a job: fetches its secrets by the compute's identity, then becomes the command.

Uploaded beside each job, so it imports nothing of this repository.
"""

import json
import os
import sys
import time

WAITS = (2.0, 4.0, 8.0)
"""Seconds between tries: an identity may get its tokens, and a role hold, a moment after the job has begun."""


def main(command: list[str]) -> None:
    """Replace this process by the command, with the secrets and the identity in its environment."""
    # Azure ML says here which identity a cluster with a user-assigned one has, and gives tokens to nobody who does not
    # name it. Azure's libraries and our settings know it by the other variable.
    if identity := os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"):
        os.environ.setdefault("AZURE_CLIENT_ID", identity)
    names = json.loads(os.environ.pop("PREFECT_AZURE_ML_SECRETS", "{}"))
    vault = os.environ.pop("PREFECT_AZURE_ML_KEY_VAULT", "")
    if names:
        os.environ.update(read(vault, names))
    os.execvp(command[0], command)  # noqa: S606


def read(vault: str, names: dict[str, str]) -> dict[str, str]:
    """The values of secrets by variable; ``names`` maps variables to secrets of the vault."""
    from azure.core.exceptions import AzureError, ResourceNotFoundError
    from azure.identity import ManagedIdentityCredential
    from azure.keyvault.secrets import SecretClient

    credential = ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"))
    client = SecretClient(vault, credential)
    for wait in (*WAITS, None):
        try:
            return {variable: client.get_secret(secret).value or "" for variable, secret in names.items()}
        except AzureError as error:
            if wait is None or isinstance(error, ResourceNotFoundError):
                raise
            sys.stderr.write(f"{type(error).__name__}: {error}; tried again in {wait:g} s\n")
            time.sleep(wait)
    raise AssertionError("the last try returns or raises")


if __name__ == "__main__":
    main(sys.argv[1:])
