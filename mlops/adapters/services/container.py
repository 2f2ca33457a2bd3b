"""What a container of the scoring image is told, wherever it runs."""

import os
from collections.abc import Mapping
from pathlib import Path

from mlops.adapters.azure_auth import read_secret
from mlops.settings import Settings

PORT = 8080
KEYS = "scoring-keys"
"""The file of the secrets folder with the service's keys."""
LIMITS = "MLOPS_SCORING_LIMIT_"
"""What the limits' variables begin with."""
STORE_SECRETS = ("storage-connection-string", "storage-sas")
"""Secrets that open the store, where there are any; else the container's identity does. Their names are the Blob
store's, whose SDK is not imported for them."""
STATE_FOLDER = "/var/lib/mlops"


def limits() -> dict[str, str]:
    """The caller's limits, which are the service's."""
    return {name: value for name, value in os.environ.items() if name.startswith(LIMITS)}


def secret_files(settings: Settings, keys: Path | None) -> dict[str, str]:
    """Files of the secrets folder: what opens the store, and the service's keys."""
    opening = {name: text for name in STORE_SECRETS if (text := read_secret(settings, name))}
    return opening | {KEYS: keys.read_text("utf-8") if keys else ""}


def variables(
    settings: Settings, model: str, environment: str, folder: str, more: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Variables and their values by name, with secrets in ``folder`` and ``more``: limits, and how to sign in."""
    told = {
        **more,
        "MLOPS_STORE": settings.store_uri,
        "MLOPS_HOST": "0.0.0.0",  # noqa: S104 - In a container that only what stands before it reaches: Caddy, a Service.
        "MLOPS_STATE_DIR": STATE_FOLDER,
        "MLOPS_SECRETS_DIR": folder,
        "MLOPS_SCORING_MODEL": model,
        "MLOPS_SCORING_ENVIRONMENT": environment,
        "MLOPS_SCORING_BIND_PORT": str(PORT),
        "MLOPS_SCORING_KEYS_FILE": f"{folder}/{KEYS}",
    }
    return sorted(told.items())
