"""Scoring services as container groups of Azure Container Instances."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.core.polling import LROPoller
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.containerinstance import models as aci

from mlops.adapters.azure_auth import credential, read_secret
from mlops.adapters.azure_vault import Vault, VaultError
from mlops.adapters.services import ReplacementFailed, Service, ServiceError
from mlops.adapters.services.aci_group import (
    ENVIRONMENT,
    MODEL,
    SCORING,
    Wanted,
    build_group,
    fixed,
    group_name,
    host_name,
    image_of,
    is_ours,
    tags_of,
)
from mlops.adapters.services.aci_view import (
    answers,
    change_of,
    digest_of,
    has_ended,
    reason_of,
    runs,
    service_of,
    state_of,
)
from mlops.adapters.services.container import limits, secret_files
from mlops.adapters.services.keys import ensure_key, find_key
from mlops.adapters.services.limits import BACK_SECONDS, DELETE_SECONDS, SETTLE_SECONDS, START_SECONDS
from mlops.settings import Settings

logger = logging.getLogger(__name__)
TLS_SHARE_KEY = "tls-share-key"
POLL_SECONDS = 2
"""Where Azure does not say when to ask again; the SDK's own 30 s would make every start that slow."""
ONCE: dict[str, Any] = {"retry_connect": 0, "retry_read": 0}
"""Without what the SDK does when the connection fails: Azure may have the request, and a second one restarts again."""
RESTARTING = ("Pending", "Creating", "Repairing", "Unhealthy")


class AciServices:
    """One container group per service, found by its name; its address is a DNS label, which stays with the name."""

    def __init__(self, settings: Settings, slot: str = "") -> None:
        settings.require(
            "azure_subscription", "azure_resource_group", "azure_region", "azure_registry", "azure_identity",
            "azure_dns_prefix",
        )  # fmt: skip
        self._settings = settings
        self._slot = slot
        self._client = ContainerInstanceManagementClient(
            credential(settings),
            settings.azure_subscription,
            polling_interval=POLL_SECONDS,
            connection_timeout=10,
            read_timeout=60,
        )

    def ensure(self, model: str, environment: str) -> Service:
        with self._locked(self._name(model, environment)), _translated(model, environment):
            keys = ensure_key(self._settings, model, environment)
            wanted, found = self._wanted(model, environment, keys), self._settled(model, environment)
            change, started = change_of(found, wanted), found is None or not runs(found)
            deadline = time.monotonic() + START_SECONDS
            if found is None:
                self._put(wanted, deadline)
            elif change:
                logger.warning("%s: %s", self._name(model, environment), change)
                deadline = self._replace(found, wanted)
            elif started:
                place = self._place(model, environment)
                _finish(self._client.container_groups.begin_start(*place), deadline, f"{place[1]} is still starting")
            self._wait(wanted, found, started or bool(change), deadline)
        return self.describe(model, environment)

    def changes(self, model: str, environment: str) -> str:
        with _translated(model, environment):
            found = self._find(model, environment)
            if not found or not runs(found):
                return ""
            keys = find_key(self._settings, model, environment)
            return change_of(found, self._wanted(model, environment, keys))

    def describe(self, model: str, environment: str) -> Service:
        with _translated(model, environment):
            found = self._find(model, environment)
        if found is None:
            return Service(model=model, environment=environment, url="", status="absent")
        return service_of(found)

    def logs(self, model: str, environment: str, lines: int = 200) -> str:
        try:
            content = self._client.containers.list_logs(*self._place(model, environment), SCORING, tail=lines).content
        except AzureError:  # No group, no container that ever ran, or Azure cannot be asked.
            return ""
        return "\n".join((content or "").splitlines()[-lines:])

    def remove(self, model: str, environment: str) -> None:
        with self._locked(self._name(model, environment)), _translated(model, environment):
            self._delete(model, environment)

    def stop(self, model: str, environment: str) -> None:
        with self._locked(self._name(model, environment)), _translated(model, environment):
            if (found := self._settled(model, environment)) and state_of(found) != "Stopped":
                self._client.container_groups.stop(*self._place(model, environment))

    def recorded(self) -> list[Service]:
        with _translated("every model", "every environment"):
            groups = self._client.container_groups.list_by_resource_group(self._settings.azure_resource_group)
            tags = [tags for tags in map(tags_of, groups) if is_ours(tags, self._slot)]
        services = [self.describe(each[MODEL], each[ENVIRONMENT]) for each in tags]
        return sorted(services, key=lambda each: (each.model, each.environment))

    def _put(self, group: aci.ContainerGroup, deadline: float, **how: Any) -> None:
        """Create the group, or replace it in place, which restarts its containers.

        Raises:
            ServiceError: Azure has not done it at the deadline.
        """
        place = self._place(tags_of(group)[MODEL], tags_of(group)[ENVIRONMENT])
        poller = self._client.container_groups.begin_create_or_update(*place, group, **how)
        _finish(poller, deadline, f"{place[1]} is still being made")

    def _replace(self, found: aci.ContainerGroup, wanted: aci.ContainerGroup) -> float:
        """Let the group be another; return the deadline until which it has to answer.

        Raises:
            ReplacementFailed: Azure refused or has not done it in time, and the group from before was put back.
        """
        deadline = time.monotonic() + START_SECONDS
        try:
            if fixed(found) != fixed(wanted):
                self._delete(tags_of(wanted)[MODEL], tags_of(wanted)[ENVIRONMENT])
                deadline = time.monotonic() + START_SECONDS
            self._put(wanted, deadline, **ONCE)
        except (AzureError, ServiceError) as error:
            if self._is_done(wanted, deadline):
                logger.warning("%s is replaced, although: %s", found.name, _said(error))
                return deadline
            if became := self._put_back(found, wanted):
                raise ReplacementFailed(f"Container Instances, {found.name}: {_said(error)}; {became}") from error
            raise
        return deadline

    def _is_done(self, wanted: aci.ContainerGroup, deadline: float) -> bool:
        """Whether the group is as wanted, once Azure is done with it: the answer that says so may have been lost."""
        with suppress(ServiceError, AzureError):  # It is still under way, or Azure cannot be asked.
            current = self._settled(tags_of(wanted)[MODEL], tags_of(wanted)[ENVIRONMENT], deadline)
            if current is not None and digest_of(current) == digest_of(wanted):
                return bool(current.provisioning_state == "Succeeded")
        return False

    def _put_back(self, before: aci.ContainerGroup, failed: aci.ContainerGroup) -> str:
        """Let the group be again what it was; return what became of that, nothing when the group still is.

        Azure shows no secrets, so they are those of now.
        """
        model, environment = tags_of(failed)[MODEL], tags_of(failed)[ENVIRONMENT]
        image = image_of(before)
        try:
            current = self._settled(model, environment)
        except (AzureError, ServiceError) as error:
            # To try again would make the group that failed the one from before.
            return f"the group from before ({image}) could not be put back: {_said(error)}"
        if current and digest_of(current) == digest_of(before):
            return ""
        before.volumes = failed.volumes
        became, deadline = "", time.monotonic() + BACK_SECONDS
        try:
            if current and fixed(current) != fixed(before):
                self._delete(model, environment)
                deadline = time.monotonic() + BACK_SECONDS
            self._put(before, deadline)
        except (AzureError, ServiceError) as error:
            if not self._is_done(before, deadline):
                became = f"the group from before ({image}) could not be put back: {_said(error)}"
        if not became:
            answered = self._answers_until(deadline, model, environment)
            how = "answers again" if answered else f"has not answered in {BACK_SECONDS:g} s"
            became = f"the group from before ({image}) is put back and {how}"
        logger.error("%s: %s", before.name, became)
        return became

    def _wait(
        self, wanted: aci.ContainerGroup, before: aci.ContainerGroup | None, started: bool, deadline: float
    ) -> None:
        """Wait until the service answers by its name.

        Raises:
            ServiceError: its container ends at its start (the message ends with its log), or it does not answer in
                time. A group that is new is stopped, one that replaced another gives way to that one
                (``ReplacementFailed``).
        """
        model, environment = tags_of(wanted)[MODEL], tags_of(wanted)[ENVIRONMENT]
        while not self._answers_until(0, model, environment):
            try:
                found = self._find(model, environment)
            except AzureError:  # To give up now would forget the group from before, which another try does not know.
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)
                continue
            ended = found is None or (started and has_ended(found))
            if ended or time.monotonic() > deadline:
                how = "ended at its start" if ended else f"did not answer in {START_SECONDS:g} s"
                tail = f"the end of its log:\n{self.logs(model, environment, 20)}"
                told = f"the scoring service {self._name(model, environment)} {how}"
                became = self._put_back(before, wanted) if before else ""
                if became:
                    raise ReplacementFailed(f"{told}; {became}; {tail}")
                if found and not before:
                    self._client.container_groups.stop(*self._place(model, environment))
                raise ServiceError(f"{told}; {tail}")
            time.sleep(POLL_SECONDS / 4)

    def _answers_until(self, deadline: float, model: str, environment: str) -> bool:
        """Whether the service answers by its name, asked until the deadline, and once at least."""
        url = f"https://{host_name(self._settings, model, environment, self._slot)}"
        while not (answered := answers(url, model, environment)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS / 4)
        return answered

    def _delete(self, model: str, environment: str) -> None:
        """Delete the group and wait until Azure no longer has it."""
        place, deadline = self._place(model, environment), time.monotonic() + DELETE_SECONDS
        _finish(self._client.container_groups.begin_delete(*place), deadline, f"{place[1]} is still being deleted")

    def _wanted(self, model: str, environment: str, keys: Path | None) -> aci.ContainerGroup:
        return build_group(
            self._settings,
            Wanted(
                model=model,
                environment=environment,
                slot=self._slot,
                variables=limits(),
                secrets=secret_files(self._settings, keys),
                share_key=self._share_key(),
            ),
        )

    def _share_key(self) -> str:
        """The key of the share with certificates: a mounted secret, else one of the vault, as in flow runs."""
        if not self._settings.azure_tls_share:
            return ""
        if found := read_secret(self._settings, TLS_SHARE_KEY):
            return found
        self._settings.require("azure_key_vault")
        try:
            found = Vault(self._settings).get(TLS_SHARE_KEY)
        except VaultError as error:
            raise ServiceError(str(error)) from None
        if not found:
            raise ServiceError(
                f"azure_tls_share is {self._settings.azure_tls_share}, but its key is neither in"
                f" {self._settings.secrets / TLS_SHARE_KEY} nor the secret {TLS_SHARE_KEY} of the vault"
            )
        return found

    def _settled(self, model: str, environment: str, deadline: float | None = None) -> aci.ContainerGroup | None:
        """The group, once no change of it is under way; without a deadline that is ``SETTLE_SECONDS`` from now.

        Raises:
            ServiceError: one still is at the deadline.
        """
        until = time.monotonic() + SETTLE_SECONDS if deadline is None else deadline
        while (found := self._find(model, environment)) and found.provisioning_state in RESTARTING:
            if time.monotonic() > until:
                raise ServiceError(f"{found.name} is {found.provisioning_state} for too long; look at it")
            time.sleep(POLL_SECONDS)
        return found

    def _find(self, model: str, environment: str) -> aci.ContainerGroup | None:
        try:
            return self._client.container_groups.get(*self._place(model, environment))
        except ResourceNotFoundError as error:
            if getattr(error.error, "code", "") == "ResourceGroupNotFound":
                raise
            return None

    def _place(self, model: str, environment: str) -> tuple[str, str]:
        return self._settings.azure_resource_group, self._name(model, environment)

    def _name(self, model: str, environment: str) -> str:
        return group_name(model, environment, self._slot)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Let one caller of this machine at a time change a group; those of others meet Azure's own refusal."""
        folder = self._settings.state / "services"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextmanager
def _translated(model: str, environment: str) -> Iterator[None]:
    """Say what Azure says, and of which service."""
    try:
        yield
    except AzureError as error:
        raise ServiceError(f"Container Instances, {model} {environment}: {reason_of(error)}") from error


def _finish(poller: LROPoller[Any], deadline: float, what: str) -> None:
    """Wait until Azure has done what it was asked.

    Raises:
        ServiceError: it has not at the deadline; the message says what is going on.
    """
    poller.wait(max(0.0, deadline - time.monotonic()))
    if not poller.done():
        raise ServiceError(f"{what}, not done in time; Azure goes on with it")
    poller.result()


def _said(error: AzureError | ServiceError) -> str:
    return reason_of(error) if isinstance(error, AzureError) else str(error)
