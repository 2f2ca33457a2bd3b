"""What one scoring service is told: its model, environment, address, store and keys."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlops import settings
from mlops.core.serving import ENVIRONMENTS, Environment

MODEL = "MLOPS_SCORING_MODEL"
ENVIRONMENT = "MLOPS_SCORING_ENVIRONMENT"
PORT = "MLOPS_SCORING_BIND_PORT"
"""Not ``MLOPS_SCORING_PORT``, which is the installation's first scoring port."""
KEYS_FILE = "MLOPS_SCORING_KEYS_FILE"


class ConfigError(ValueError):
    """A variable of the scoring service is absent or has a value that cannot be used."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one scoring service."""

    model: str
    environment: Environment
    host: str
    port: int
    store_uri: str
    keys_file: Path


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the configuration from variables and the installation's settings.

    Raises:
        ConfigError: a variable is absent or unusable; the message names it.
        mlops.settings.SettingsError: the installation's settings are unusable.
    """
    environ = os.environ if environ is None else environ
    installation = settings.load(environ)
    model = _required(environ, MODEL, "the name of the model to serve")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", model):
        raise ConfigError(f"{MODEL} is {model!r}; use lower-case letters, digits and dashes, 40 at most")
    environment = _required(environ, ENVIRONMENT, f"one of {', '.join(ENVIRONMENTS)}")
    known = next((name for name in ENVIRONMENTS if name == environment), None)
    if known is None:
        raise ConfigError(f"{ENVIRONMENT} is {environment!r}; set it to one of {', '.join(ENVIRONMENTS)}")
    port = _required(environ, PORT, "the port to listen on")
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ConfigError(f"{PORT} is {port!r}; set it to a port number from 1 to 65535")
    return Config(
        model=model,
        environment=known,
        host=installation.host,
        port=int(port),
        store_uri=installation.store_uri,
        keys_file=Path(_required(environ, KEYS_FILE, "a file with one key a line, two at most")),
    )


def _required(environ: Mapping[str, str], name: str, meaning: str) -> str:
    if value := environ.get(name, "").strip():
        return value
    raise ConfigError(f"{name} is not set; set it to {meaning}")
