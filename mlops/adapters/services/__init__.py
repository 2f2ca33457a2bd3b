"""Scoring services: one per model and environment, wherever they run."""

from pathlib import Path
from typing import Literal, Protocol

import msgspec

from mlops.settings import Settings

Status = Literal["running", "stopped", "absent"]


class ServiceError(Exception):
    """A scoring service could not be started, stopped or asked about."""


class ReplacementFailed(ServiceError):
    """A change of a running service failed and the service from before was put back, for which it was interrupted.

    Another try would interrupt it again, so a flow does not try by itself.
    """


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One scoring service and its address (empty when it is absent)."""

    model: str
    environment: str
    url: str
    status: Status
    pid: int | None = None
    """The process, where services are processes of this machine; none while it is started again."""
    supervisor: int | None = None
    """The process that starts it again when it dies."""
    restarts: int = 0
    """How often it was started again since its supervisor runs."""


class Services(Protocol):
    """Starts, describes and removes scoring services.

    ``tests/adapters/services_contract.py`` holds every implementation to this: a service answers when ``ensure``
    returns, with the key in ``key_file``, which is made once and outlives the service; any number of callers, in
    any process, at once or later, find one service at one address; ``stop`` and a replacement keep the address,
    which no other service gets; ``MLOPS_SCORING_LIMIT_*`` variables of the caller are settings of the service, so
    that a changed one replaces it, after ``changes`` has said so and ``ensure`` has logged the same; an end at its
    start is a ``ServiceError`` with the end of the service's log; ``stop`` and ``remove`` may be repeated; keys are
    in no log.
    """

    def ensure(self, model: str, environment: str) -> Service:
        """Start a service, with a key of its own, unless it runs; it answers when this returns.

        One that runs with another image, other settings or other code is replaced, as ``changes`` says.

        Raises:
            ServiceError: it did not come up; the message says why.
        """

    def changes(self, model: str, environment: str) -> str:
        """Why the next ``ensure`` replaces a running service, and for how long it will not answer; else empty."""

    def describe(self, model: str, environment: str) -> Service:
        """Say where a service is and whether it runs."""

    def logs(self, model: str, environment: str, lines: int = 200) -> str:
        """The last lines of a service's log; empty when there is none."""

    def remove(self, model: str, environment: str) -> None:
        """End a service and give its address up; nothing happens when there is none."""

    def stop(self, model: str, environment: str) -> None:
        """End a service and keep its address for the next start; nothing happens when it does not run."""

    def recorded(self) -> list[Service]:
        """The services that should run, whether they do or not."""


def open_services(settings: Settings) -> Services:
    """Open the services of an installation.

    Raises:
        mlops.settings.SettingsError: something that the profile's services need is not set.
    """
    if settings.profile == "local":
        from mlops.adapters.services.local import LocalServices

        return LocalServices(settings)
    if settings.scoring_platform == "aks":
        from mlops.adapters.services.aks import AksServices

        return AksServices(settings)
    if settings.azure_gateway:
        from mlops.adapters.services.aci_gateway import GatewayServices

        return GatewayServices(settings)
    from mlops.adapters.services.aci import AciServices

    return AciServices(settings)


def key_file(settings: Settings, model: str, environment: str) -> Path:
    """The file with a service's keys, one a line: a mounted one, else of this installation, which may write there."""
    name = f"{model}-{environment}.key"
    mounted = settings.secrets / name
    return mounted if mounted.exists() else settings.state / "secrets" / name
