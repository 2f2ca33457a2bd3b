"""The settings of one installation, read once at the edge of each process."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

PREFIX = "MLOPS_"


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be used."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that differs between installations; secrets are files, never fields.

    Each field is set by ``MLOPS_<FIELD>`` or by its name in the settings file
    (``mlops.toml``, or the file that ``MLOPS_SETTINGS`` names); the variable wins.
    """

    profile: Literal["local", "azure"] = "local"
    home: Path = Path()
    """The checkout: where ``prefect.yaml`` and ``deployments/models`` are."""
    state_dir: Path = Path(".local")
    """State of the embedded stack; relative paths start at ``home``."""
    store: str = ""
    """URI of the object store; empty: a folder in the state directory."""
    database: str = ""
    """``postgresql://user@host:port`` of an existing PostgreSQL; empty: the embedded one."""
    host: str = "127.0.0.1"
    """The address that local servers bind."""
    prefect_port: int = 4200
    mlflow_port: int = 5000
    reports_port: int = 4300
    scoring_port: int = 8100
    """The first port for scoring services; each takes the next free one and keeps it."""
    prefect_url: str = ""
    """The Prefect API; empty: the embedded server's."""
    mlflow_url: str = ""
    """The MLflow server; empty: the embedded one."""
    secrets_dir: Path | None = None
    """Folder of mounted secrets; empty: ``secrets`` in the state directory."""

    @property
    def state(self) -> Path:
        """The state directory, absolute."""
        return (self.home / self.state_dir).resolve()

    @property
    def store_uri(self) -> str:
        """The object store's URI."""
        return self.store or (self.state / "store").as_uri()

    @property
    def prefect_api(self) -> str:
        """The Prefect API's URL, with its ``/api``."""
        return self.prefect_url or f"http://{self.host}:{self.prefect_port}/api"

    @property
    def prefect_ui(self) -> str:
        """The Prefect UI's URL."""
        return self.prefect_api.removesuffix("/api")

    @property
    def mlflow_uri(self) -> str:
        """The MLflow tracking and registry URL."""
        return self.mlflow_url or f"http://{self.host}:{self.mlflow_port}"

    @property
    def reports_url(self) -> str:
        """Where reports in the store are served over HTTP."""
        return f"http://{self.host}:{self.reports_port}"

    @property
    def secrets(self) -> Path:
        """The folder of mounted secrets."""
        return self.secrets_dir or self.state / "secrets"

    @property
    def models_dir(self) -> Path:
        """The folder of model specs."""
        return (self.home / "deployments" / "models").resolve()

    def environment(self) -> dict[str, str]:
        """These settings as variables, absolute, for a child process in any folder."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        values |= {"home": self.home.resolve(), "state_dir": self.state}
        return {f"{PREFIX}{name.upper()}": str(v) for name, v in values.items() if v or v == 0}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file and the ``MLOPS_*`` variables.

    Raises:
        SettingsError: a name is unknown or a value has the wrong type; the message says
            which and where it came from.
    """
    environ = os.environ if environ is None else environ
    home = Path(environ.get(f"{PREFIX}HOME") or Path(__file__).parents[1])
    file = Path(environ.get(f"{PREFIX}SETTINGS") or home / "mlops.toml")
    values: dict[str, object] = {"home": home}
    if file.is_file():
        try:
            values |= tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is not valid TOML: {error}") from None
    elif f"{PREFIX}SETTINGS" in environ:
        raise SettingsError(f"{PREFIX}SETTINGS names {file}, which does not exist")
    for name in Settings.__struct_fields__:
        if text := environ.get(f"{PREFIX}{name.upper()}"):
            values[name] = text
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{_source(str(error), environ, file)}: {error}") from None


def _source(error: str, environ: Mapping[str, str], file: Path) -> str:
    """Return the variable that a refused field came from, or else the file."""
    field = error.partition("`$.")[2].partition("`")[0]
    variable = f"{PREFIX}{field.upper()}"
    return variable if field and environ.get(variable) else str(file)


def _path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError(f"a setting of type {kind.__name__}")
