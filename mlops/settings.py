"""The settings of one installation, read once at the edge of each process."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

PREFIX = "MLOPS_"
AZURE = {
    "azure_tenant": "AZURE_TENANT_ID",
    "azure_client_id": "AZURE_CLIENT_ID",
    "azure_subscription": "AZURE_SUBSCRIPTION_ID",
}
"""Variables of Azure's own tools, taken where ours are not set."""


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
    evidently_port: int = 4400
    scoring_port: int = 8100
    """The first port for scoring services; each takes the next free one and keeps it."""
    prefect_url: str = ""
    """The Prefect API; empty: the embedded server's."""
    mlflow_url: str = ""
    """The MLflow server; empty: the embedded one."""
    reports_url: str = ""
    """Where the reports of the store are shown; empty: the embedded server."""
    evidently_url: str = ""
    """Where Evidently's pages are; empty: the embedded ones."""
    evidently_dir: Path | None = None
    """Folder of the embedded Evidently's workspace; empty: ``evidently`` in the state directory."""
    secrets_dir: Path | None = None
    """Folder of mounted secrets; empty: ``secrets`` in the state directory."""

    worker_env_file: Path | None = None
    """File of ``NAME=value`` lines: variables of the workers on this machine alone, such as a sign-in of their own. No
    value takes one away that they would inherit."""

    azure_sign_in: Literal["default", "secret", "certificate", "managed_identity", "workload_identity"] = "default"
    """How to sign in; ``default`` tries what azure-identity finds, which on a laptop is the Azure CLI's sign-in."""
    azure_tenant: str = ""
    """Entra tenant (id or domain); empty: ``AZURE_TENANT_ID``."""
    azure_client_id: str = ""
    """Application of the service principal or user-assigned identity; empty: ``AZURE_CLIENT_ID``."""
    azure_subscription: str = ""
    """Subscription id; empty: ``AZURE_SUBSCRIPTION_ID``."""
    azure_resource_group: str = ""
    azure_region: str = ""
    """As Azure writes it: ``westeurope``."""
    azure_workspace: str = ""
    """Azure Machine Learning workspace in the resource group."""
    azure_compute: str = "iriscompute"
    """Compute cluster of the workspace, for flow runs of the pool ``training``."""
    azure_registry: str = ""
    """Login server of the container registry: ``example.azurecr.io``."""
    azure_flow_image: str = "mlops-flows:latest"
    """Image of flow runs in the registry, with its tag."""
    azure_identity: str = ""
    """Resource id of the user-assigned identity that scoring services run under and pull images with."""
    azure_flow_identity: str = ""
    """Resource id of the one that flow runs run under: their container groups, and the training pool's cluster."""
    azure_storage_account: str = ""
    azure_storage_container: str = ""
    """Account and Blob container of the object store, unless ``store`` names one."""
    azure_key_vault: str = ""
    """``https://<name>.vault.azure.net``, where services' keys are kept; empty: in the secrets folder alone."""
    azure_dns_prefix: str = ""
    """A scoring service's host name is ``<prefix>-<model>-<environment>.<region>.azurecontainer.io``."""
    azure_scoring_image: str = "mlops-scoring:latest"
    """Repository and tag in the registry; a new tag replaces the services."""
    azure_scoring_cpu: float = 1.0
    azure_scoring_memory: float = 1.5
    """GB."""
    azure_gateway: str = ""
    """Resource id of an Application Gateway with a backend pool ``<model>-<environment>`` for each service; then a new
    image or size comes by a second group and a switch. Empty: groups are replaced in place."""
    azure_gateway_domain: str = ""
    """With a gateway, services answer at ``https://<model>-<environment>.<domain>``."""
    azure_servers_secret: str = ""
    """Secret of the vault with ``user:password`` of Prefect, MLflow and the pages; empty: they ask for none."""
    azure_caddy_image: str = "caddy:2.10-alpine"
    """Ends TLS beside the scoring service; ``<registry>/caddy:…`` for one imported into the registry."""
    azure_tls_share: str = ""
    """``<account>/<share>`` of Azure Files, where certificates outlive the group; its key is the secret
    ``tls-share-key`` of the vault. Empty: each start of a group asks Let's Encrypt, which gives five a week."""

    work_pools: str = ""
    """Folder in ``infra/work_pools`` with the pools; empty: the one named like the profile."""
    scoring_platform: Literal["aci", "aks"] = "aci"
    """Where scoring services run with the profile ``azure``."""
    kubernetes_context: str = ""
    """Of the kubeconfig; empty: the cluster that the process runs in, or else the current context."""
    kubernetes_namespace: str = "mlops"
    kubernetes_domain: str = ""
    """Services answer at ``https://<model>-<environment>.<domain>``."""
    kubernetes_ingress_class: str = "webapprouting.kubernetes.azure.com"
    """That of AKS's application routing add-on."""
    kubernetes_tls_secret: str = "mlops-tls"  # noqa: S105 - A name.
    """Secret in the namespace with the domain's wildcard certificate."""
    kubernetes_service_account: str = "mlops-scoring"
    """Federated with the identity that reads the store."""
    kubernetes_min_replicas: int = 1
    kubernetes_max_replicas: int = 1

    @property
    def state(self) -> Path:
        """The state directory, absolute."""
        return (self.home / self.state_dir).resolve()

    @property
    def store_uri(self) -> str:
        """The object store's URI."""
        if self.store or not (self.azure_storage_account and self.azure_storage_container):
            return self.store or (self.state / "store").as_uri()
        return f"https://{self.azure_storage_account}.blob.core.windows.net/{self.azure_storage_container}"

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
    def reports_uri(self) -> str:
        """Where reports in the store are served over HTTP."""
        return self.reports_url or f"http://{self.host}:{self.reports_port}"

    @property
    def evidently_uri(self) -> str:
        """Where Evidently's UI shows the workspace."""
        return self.evidently_url or f"http://{self.host}:{self.evidently_port}"

    @property
    def evidently(self) -> Path:
        """The folder of Evidently's workspace, absolute."""
        return (self.home / self.evidently_dir).resolve() if self.evidently_dir else self.state / "evidently"

    @property
    def secrets(self) -> Path:
        """The folder of mounted secrets."""
        return self.secrets_dir or self.state / "secrets"

    @property
    def models_dir(self) -> Path:
        """The folder of model specs."""
        return (self.home / "deployments" / "models").resolve()

    def require(self, *names: str) -> None:
        """Make sure that settings which have no default are set.

        Raises:
            SettingsError: some are not; the message names each with its variable.
        """
        if missing := [f"{name} ({PREFIX}{name.upper()})" for name in names if not getattr(self, name)]:
            raise SettingsError(
                f"profile {self.profile!r} needs {', '.join(missing)}: set in mlops.toml or as variable"
            )

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
    values = {name: environ[other] for name, other in AZURE.items() if environ.get(other)} | values
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
