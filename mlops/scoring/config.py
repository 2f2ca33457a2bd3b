"""What one scoring service is told: its model, environment, address, store, keys, folders and limits."""

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from mlops import settings
from mlops.core.serving import ENVIRONMENTS, Environment
from mlops.scoring.keys import KeyFile, Keys

MODEL = "MLOPS_SCORING_MODEL"
ENVIRONMENT = "MLOPS_SCORING_ENVIRONMENT"
PORT = "MLOPS_SCORING_BIND_PORT"
"""Not ``MLOPS_SCORING_PORT``, which is the installation's first scoring port."""
KEYS_FILE = "MLOPS_SCORING_KEYS_FILE"
KEYS = "MLOPS_SCORING_KEYS"
"""The keys themselves, for platforms that have secrets as variables only; to rotate them takes a restart."""
SPOOL = "MLOPS_SCORING_SPOOL"
CACHE = "MLOPS_SCORING_CACHE"
LIMIT = "MLOPS_SCORING_LIMIT_"
"""What the limits' variables begin with."""


class ConfigError(ValueError):
    """A variable of the scoring service is absent or has a value that cannot be used."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one service takes on; each is set by ``MLOPS_SCORING_LIMIT_<NAME>`` and must be above zero."""

    body: int = 8 * 1024 * 1024
    """Bytes in one request."""
    batch: int = 10_000
    """Records, or labels, in one request."""
    requests: int = 256
    """Requests in flight."""
    large: int = 8
    """Requests of more than 16 KiB in flight, which bounds the memory they take together."""
    seconds: float = 10.0
    """Time to answer once the body is there."""
    body_seconds: float = 30.0
    """Time for a body to arrive."""
    spool: int = 512 * 1024 * 1024
    """Bytes of the prediction log on disk while the store is away."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one scoring service."""

    model: str
    environment: Environment
    host: str
    port: int
    store_uri: str
    keys_file: Path | None
    """None where the keys are a variable; they are no field, so that no log can show them."""
    spool: Path
    """Where the prediction log waits for the store."""
    cache: Path
    """Where the last good generation is kept, apart for each store."""
    limits: Limits = Limits()


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
    name, store = f"{model}-{environment}", installation.store_uri
    return Config(
        model=model,
        environment=known,
        host=installation.host,
        port=int(port),
        store_uri=store,
        keys_file=_keys_file(environ),
        spool=Path(environ.get(SPOOL) or installation.state / "spool" / name),
        cache=Path(environ.get(CACHE) or installation.state / "cache" / name) / sha256(store.encode()).hexdigest()[:12],
        limits=_limits(environ),
    )


def open_keys(told: Config, environ: Mapping[str, str] | None = None) -> Keys:
    """The keys that open the service, from where the configuration says."""
    if told.keys_file:
        return KeyFile(told.keys_file)
    return Keys((os.environ if environ is None else environ).get(KEYS, ""))


def _keys_file(environ: Mapping[str, str]) -> Path | None:
    if environ.get(KEYS, "").strip():
        return None  # It wins over the file, whose name the image sets.
    return Path(_required(environ, KEYS_FILE, f"a file with one key a line, two at most (or {KEYS} to the keys)"))


def _limits(environ: Mapping[str, str]) -> Limits:
    values: dict[str, float] = {}
    for name, default in msgspec.structs.asdict(Limits()).items():
        variable = f"{LIMIT}{name.upper()}"
        if text := environ.get(variable, "").strip():
            try:
                values[name] = msgspec.convert(text, type(default), strict=False)
            except msgspec.ValidationError:
                raise ConfigError(f"{variable} is {text!r}; set it to a number above zero") from None
            if not 0 < values[name] < float("inf"):
                raise ConfigError(f"{variable} is {text!r}; set it to a number above zero")
    return msgspec.convert(values, Limits)


def _required(environ: Mapping[str, str], name: str, meaning: str) -> str:
    if value := environ.get(name, "").strip():
        return value
    raise ConfigError(f"{name} is not set; set it to {meaning}")
