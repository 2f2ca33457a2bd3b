"""Scoring services: one per model and environment, wherever they run."""

from pathlib import Path
from typing import Literal, Protocol

import msgspec

from mlops.settings import Settings

Status = Literal["running", "stopped", "absent"]


class ServiceError(Exception):
    """A scoring service could not be started, stopped or asked about."""


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
    """Starts, describes and removes scoring services."""

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
        ServiceError: there are none for its profile.
    """
    if settings.profile == "local":
        from mlops.adapters.services.local import LocalServices

        return LocalServices(settings)
    raise ServiceError(
        f"scoring services of the profile {settings.profile!r} are not managed from here; "
        "set profile (MLOPS_PROFILE) to local"
    )


def key_file(settings: Settings, model: str, environment: str) -> Path:
    """The file with a service's keys, one a line."""
    return settings.secrets / f"{model}-{environment}.key"
