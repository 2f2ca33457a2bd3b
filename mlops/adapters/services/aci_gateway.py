"""Scoring services behind a gateway: a change comes by a second container group and a switch, so it never pauses."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from mlops.adapters.azure_gateway import Gateway, GatewayError
from mlops.adapters.services import Service, ServiceError
from mlops.adapters.services.aci import AciServices
from mlops.adapters.services.aci_group import host_name
from mlops.settings import Settings

logger = logging.getLogger(__name__)
SLOTS = ("a", "b")


class GatewayServices:
    """Two slots for each service; the gateway alone says which of them answers, so a crash leaves one that does."""

    def __init__(self, settings: Settings) -> None:
        settings.require("azure_gateway", "azure_gateway_domain")
        self._settings = settings
        self._gateway = Gateway(settings)
        self._slots = {slot: AciServices(settings, slot) for slot in SLOTS}

    def ensure(self, model: str, environment: str) -> Service:
        live = self._live(model, environment)
        slot = live or SLOTS[0]
        if live and (change := self.changes(model, environment)):
            logger.warning("%s-%s: %s", model, environment, change)
            slot = _other(live)
            if self._exists(model, environment, slot):  # A try that ended in its switch may have left what answers.
                with _translated():  # It is made up for, if the gateway's update failed.
                    self._gateway.switch(f"{model}-{environment}", host_name(self._settings, model, environment, live))
                self._confirm(model, environment, live, healthy=False)
        self._slots[slot].ensure(model, environment)
        with _translated():
            self._gateway.switch(f"{model}-{environment}", host_name(self._settings, model, environment, slot))
        if self._exists(model, environment, _other(slot)):  # That of before, or one that an earlier try left.
            self._confirm(model, environment, slot)
            self._slots[_other(slot)].remove(model, environment)
        return self.describe(model, environment)

    def changes(self, model: str, environment: str) -> str:
        live = self._live(model, environment)
        if not live or not self._slots[live].changes(model, environment):
            return ""
        return (
            "its image or settings changed: a second group is started and the gateway switched; it answers throughout"
        )

    def describe(self, model: str, environment: str) -> Service:
        slot = self._live(model, environment) or SLOTS[0]
        return self._shown(self._slots[slot].describe(model, environment))

    def logs(self, model: str, environment: str, lines: int = 200) -> str:
        return self._slots[self._live(model, environment) or SLOTS[0]].logs(model, environment, lines)

    def remove(self, model: str, environment: str) -> None:
        for services in self._slots.values():
            services.remove(model, environment)

    def stop(self, model: str, environment: str) -> None:
        if live := self._live(model, environment):
            self._slots[live].stop(model, environment)

    def recorded(self) -> list[Service]:
        found = [each for services in self._slots.values() for each in services.recorded()]
        names = sorted({(each.model, each.environment) for each in found})
        return [self.describe(*name) for name in names]

    def _exists(self, model: str, environment: str, slot: str) -> bool:
        return self._slots[slot].describe(model, environment).status != "absent"

    def _confirm(self, model: str, environment: str, slot: str, *, healthy: bool = True) -> None:
        """Make sure that the gateway leads to a slot, and no longer to the other one, which may go then."""
        with _translated():
            host = host_name(self._settings, model, environment, slot)
            self._gateway.confirm(f"{model}-{environment}", host, healthy=healthy)

    def _live(self, model: str, environment: str) -> str:
        """The slot that the gateway leads to, if its group is there."""
        with _translated():
            host = self._gateway.backend(f"{model}-{environment}")
        for slot in SLOTS:
            if host == host_name(self._settings, model, environment, slot):
                return slot if self._exists(model, environment, slot) else ""
        return ""

    def _shown(self, service: Service) -> Service:
        if service.status == "absent":
            return service
        url = f"https://{service.model}-{service.environment}.{self._settings.azure_gateway_domain}"
        return msgspec.structs.replace(service, url=url, restarts=0)


def _other(slot: str) -> str:
    return SLOTS[1 - SLOTS.index(slot)]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except GatewayError as error:
        raise ServiceError(str(error)) from error
