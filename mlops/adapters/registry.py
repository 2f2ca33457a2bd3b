"""Tracking and model registry on MLflow: runs, versions named by bundle digest, two aliases.

What is true is in the store; runs and aliases are a view of it that any flow may mend.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mlops.settings import Settings

CHAMPION = "champion"
CHALLENGER = "challenger"


class RegistryError(Exception):
    """The registry has not what was asked for."""


class Version(msgspec.Struct, frozen=True):
    """A registered bundle."""

    model: str
    version: str
    digest: str
    snapshot: str
    run_id: str


class Registry(Protocol):
    """Runs and versions of models.

    Besides what the methods say, all raise ``MlflowException`` when the server is away, by which tasks are tried again.
    """

    def log_run(
        self, model: str, name: str, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]
    ) -> str:
        """Record a training run and return its id."""

    def register(self, model: str, run_id: str, digest: str, snapshot: str, files: dict[str, bytes]) -> Version:
        """Register a bundle under the next version number; a digest has one version for ever."""

    def version(self, model: str, version: str) -> Version:
        """Look a version up. Raises ``RegistryError``."""

    def latest(self, model: str) -> Version | None:
        """The highest version."""

    def find(self, model: str, digest: str) -> Version | None:
        """The version of a bundle."""

    def alias(self, model: str, alias: str) -> Version | None:
        """The version that an alias names."""

    def set_alias(self, model: str, alias: str, version: str | None) -> None:
        """Let an alias name a version, or none."""


def open_registry(settings: Settings) -> "MlflowRegistry":
    """The registry on the MLflow server of the settings, signed in where that asks for a user and password.

    Raises:
        mlops.adapters.sign_in.SignInError, mlops.adapters.azure_vault.VaultError: the sign-in cannot be read.
        SettingsError: the server is elsewhere and would be asked without TLS.
    """
    # MLflow's clients take a sign-in from their own variables alone; a person's goes before. They prefer it to the
    # token for the workspace's own MLflow that Azure ML gives each of its jobs.
    if not os.environ.get("MLFLOW_TRACKING_USERNAME"):
        from mlops.adapters.sign_in import refuse_to_tell, servers_sign_in

        if told := servers_sign_in(settings):
            refuse_to_tell(settings.mlflow_url, "mlflow_url")
            os.environ["MLFLOW_TRACKING_USERNAME"] = told.user
            os.environ["MLFLOW_TRACKING_PASSWORD"] = told.password
    return MlflowRegistry(settings.mlflow_uri)


class MlflowRegistry:
    """The registry on an MLflow server."""

    def __init__(self, uri: str) -> None:
        # MLflow would report usage to a host of its own; it must be told so before the import.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def log_run(
        self, model: str, name: str, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]
    ) -> str:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.utils.time import get_current_time_millis

        run = self.client.create_run(self._experiment(model), run_name=name)
        now = get_current_time_millis()
        self.client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, now, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        self.client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def register(self, model: str, run_id: str, digest: str, snapshot: str, files: dict[str, bytes]) -> Version:
        if known := self.find(model, digest):
            return known
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                Path(folder, name).write_bytes(data)
            self.client.log_artifacts(run_id, folder, "bundle")
        self._ensure_model(model)
        created = self.client.create_model_version(
            model, source=f"runs:/{run_id}/bundle", run_id=run_id, tags={"digest": digest, "snapshot": snapshot}
        )
        return _version(created)

    def version(self, model: str, version: str) -> Version:
        from mlflow.exceptions import MlflowException

        try:
            return _version(self.client.get_model_version(model, version))
        except MlflowException as error:
            raise RegistryError(f"version {version!r} of {model} is not in the registry: {error.message}") from None

    def latest(self, model: str) -> Version | None:
        return max(self._versions(model), key=lambda found: int(found.version), default=None)

    def find(self, model: str, digest: str) -> Version | None:
        return next((found for found in self._versions(model) if found.digest == digest), None)

    def alias(self, model: str, alias: str) -> Version | None:
        from mlflow.exceptions import MlflowException

        try:
            return _version(self.client.get_model_version_by_alias(model, alias))
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def set_alias(self, model: str, alias: str, version: str | None) -> None:
        if version is None:
            self.client.delete_registered_model_alias(model, alias)
        else:
            self.client.set_registered_model_alias(model, alias, version)

    def _versions(self, model: str) -> list[Version]:
        found = self.client.search_model_versions(f"name = '{model}'", max_results=10_000)
        return [_version(each) for each in found]

    def _experiment(self, model: str) -> str:
        from mlflow.exceptions import MlflowException

        if found := self.client.get_experiment_by_name(model):
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(model))
        except MlflowException:  # Another candidate of the same training created it meanwhile.
            if found := self.client.get_experiment_by_name(model):
                return str(found.experiment_id)
            raise

    def _ensure_model(self, model: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _version(found: Any) -> Version:
    return Version(
        model=found.name,
        version=str(found.version),
        digest=found.tags.get("digest", ""),
        snapshot=found.tags.get("snapshot", ""),
        run_id=found.run_id or "",
    )
