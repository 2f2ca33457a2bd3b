"""An Application Gateway: which container group answers behind it for which service."""

import time
from typing import Any

from mlops.adapters.azure_auth import credential
from mlops.adapters.services.limits import SWITCH_SECONDS
from mlops.settings import Settings, SettingsError

HEALTHY = ("Up", "Healthy")
"""The first is of the API's description, the second what its pages and users show."""
POLL_SECONDS = 2


class GatewayError(Exception):
    """The gateway is not as it should be, or cannot be changed."""


class Gateway:
    """The gateway of ``azure_gateway``; a service's backend pool is named ``<model>-<environment>``."""

    def __init__(self, settings: Settings) -> None:
        from azure.mgmt.network import NetworkManagementClient

        parts = settings.azure_gateway.strip("/").split("/")
        if len(parts) != 8 or parts[6].lower() != "applicationgateways":
            raise SettingsError(f"azure_gateway (MLOPS_AZURE_GATEWAY) is {settings.azure_gateway!r}, no gateway's id")
        self._place = parts[3], parts[7]
        self._gateways = NetworkManagementClient(
            credential(settings), parts[1], polling_interval=POLL_SECONDS, connection_timeout=10, read_timeout=60
        ).application_gateways

    def backend(self, pool: str) -> str:
        """The host name that a pool leads to; empty when it leads nowhere yet.

        Raises:
            GatewayError: there is no such pool, or Azure refuses.
        """
        addresses = self._pool(self._read(), pool).backend_addresses or []
        return str(addresses[0].fqdn or "") if addresses else ""

    def switch(self, pool: str, host: str) -> None:
        """Let a pool lead to a host name, and make sure that it does; nothing happens when it does already.

        Azure shows a change as soon as it was asked for, and goes on by the old backends until it is done.

        Raises:
            GatewayError: Azure refuses, is not done in time, or somebody else changed the gateway at the same time.
        """
        from azure.core.exceptions import AzureError
        from azure.mgmt.network.models import ApplicationGatewayBackendAddress

        deadline = time.monotonic() + SWITCH_SECONDS
        found = self._settled(deadline)
        led = [each.fqdn for each in self._pool(found, pool).backend_addresses or []]
        if led == [host] and found.provisioning_state == "Succeeded":
            return
        self._pool(found, pool).backend_addresses = [ApplicationGatewayBackendAddress(fqdn=host)]
        headers = {"If-Match": found.etag} if found.etag else {}
        try:
            changed = self._gateways.begin_create_or_update(*self._place, found, headers=headers)
            changed.wait(max(0.0, deadline - time.monotonic()))
            if not changed.done():
                raise GatewayError(self._unfinished())
            changed.result()
        except AzureError as error:
            raise GatewayError(f"gateway {self._place[1]}, pool {pool}: {_reason(error)}") from error
        if self.backend(pool) != host:
            raise GatewayError(f"somebody else changed the gateway {self._place[1]} meanwhile; try again")

    def confirm(self, pool: str, host: str, *, healthy: bool = True) -> None:
        """Wait until the gateway's own probes ask a host name alone for a pool, and find it healthy.

        What Azure shows of a pool is no proof that the gateway leads there yet, and its provisioning state not always
        either (https://github.com/Azure/azure-cli/issues/32961).

        Args:
            pool: its name.
            host: where it shall lead.
            healthy: false where it is enough that no other host is asked.

        Raises:
            GatewayError: Azure refuses, or it is not so in time.
        """
        deadline, host = time.monotonic() + SWITCH_SECONDS, host.lower()
        self._settled(deadline)
        while True:
            health = self._health(pool, deadline)
            if set(health) == {host} and (not healthy or health[host] in HEALTHY):
                return
            if time.monotonic() > deadline:
                shown = ", ".join(f"{name} ({state})" for name, state in health.items()) or "no server"
                raise GatewayError(
                    f"gateway {self._place[1]}, pool {pool}: its probes ask {shown}, not {host} in health"
                )
            time.sleep(POLL_SECONDS)

    def _settled(self, deadline: float) -> Any:
        """The gateway, once no change of it is under way."""
        while (found := self._read()).provisioning_state == "Updating":
            if time.monotonic() > deadline:
                raise GatewayError(self._unfinished())
            time.sleep(POLL_SECONDS)
        return found

    def _health(self, pool: str, deadline: float) -> dict[str, str]:
        """What the gateway's probes say of the servers of a pool, by host name."""
        from azure.core.exceptions import AzureError

        try:
            asked = self._gateways.begin_backend_health(*self._place)
            asked.wait(max(POLL_SECONDS, deadline - time.monotonic()))
            if not asked.done():
                raise GatewayError(f"gateway {self._place[1]} does not tell the health of its backends in time")
            found = asked.result()
        except AzureError as error:
            raise GatewayError(f"gateway {self._place[1]}, health of its backends: {_reason(error)}") from error
        settings = [
            each
            for pools in found.backend_address_pools or []
            if pools.backend_address_pool and str(pools.backend_address_pool.id).lower().endswith(f"/{pool}".lower())
            for each in pools.backend_http_settings_collection or []
        ]
        return {str(each.address).lower(): str(each.health) for one in settings for each in one.servers or []}

    def _unfinished(self) -> str:
        return (
            f"the gateway {self._place[1]} is still being updated after {SWITCH_SECONDS:g} s; Azure goes on with it,"
            " and the next try waits for it"
        )

    def _read(self) -> Any:
        from azure.core.exceptions import AzureError

        try:
            return self._gateways.get(*self._place)
        except AzureError as error:
            raise GatewayError(f"gateway {self._place[1]}: {_reason(error)}") from error

    def _pool(self, gateway: Any, name: str) -> Any:
        for each in gateway.backend_address_pools or []:
            if each.name == name:
                return each
        reason = "make one, with a listener and a rule that lead to it"
        raise GatewayError(f"gateway {self._place[1]} has no backend pool {name!r}; {reason}")


def _reason(error: Any) -> str:
    return " ".join(str(error.message).split())
