"""What every task opens first: the settings, a model's spec and its rooms in the store."""

from dataclasses import dataclass
from functools import cached_property

from mlops import settings as settings_module
from mlops import spec as spec_module
from mlops.adapters.ledger import Ledger
from mlops.adapters.registry import Registry, Version, open_registry
from mlops.adapters.services import Services, open_services
from mlops.adapters.snapshots import Snapshots
from mlops.adapters.store import Store, open_store
from mlops.settings import Settings
from mlops.spec import ModelSpec
from tasks.network import Refused


@dataclass(frozen=True)
class ModelContext:
    """One model in one installation; adapters open when they are first used."""

    settings: Settings
    spec: ModelSpec

    @cached_property
    def store(self) -> Store:
        """The object store."""
        return open_store(self.settings.store_uri, self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """The model's decisions."""
        return Ledger(self.store, self.spec.name)

    @cached_property
    def snapshots(self) -> Snapshots:
        """The model's data sets."""
        return Snapshots(self.store, self.spec.name)

    @cached_property
    def registry(self) -> Registry:
        """Runs and versions."""
        return open_registry(self.settings)

    @cached_property
    def services(self) -> Services:
        """The scoring services."""
        return open_services(self.settings)


def open_model(model: str) -> ModelContext:
    """Open a model by name.

    Raises:
        SettingsError, SpecError: the settings or the model's spec cannot be used.
    """
    settings = settings_module.load()
    return ModelContext(settings, spec_module.load(settings.models_dir, model))


def pick_version(context: ModelContext, version: str | None, alias: str, missing: str) -> Version:
    """Look up the version that is named, else the one that an alias names, or the newest one without an alias.

    Raises:
        Refused: there is none; the message is ``missing``.
        RegistryError: the named one is not registered.
    """
    registry, model = context.registry, context.spec.name
    if version:
        return registry.version(model, version)
    found = registry.alias(model, alias) if alias else registry.latest(model)
    if found is None:
        raise Refused(missing)
    return found


def newest_snapshot(context: ModelContext) -> str:
    """The id of the newest snapshot.

    Raises:
        Refused: there is none yet.
    """
    model = context.spec.name
    if found := context.snapshots.latest():
        return found
    raise Refused(f"{model} has no snapshot yet: put files under {model}/landing/ and run the flow ingestion")


def current_flow_run() -> str:
    """The id of the flow run that this is part of; empty outside of one."""
    from prefect.runtime import flow_run

    return str(flow_run.id or "")
