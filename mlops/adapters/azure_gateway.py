"""An Application Gateway: which container group answers behind it for which service."""

from typing import Any

from mlops.adapters.azure_auth import credential
from mlops.adapters.services.limits import SWITCH_SECONDS
from mlops.settings import Settings, SettingsError

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

        Raises:
            GatewayError: Azure refuses, or somebody else changed the gateway at the same time.
        """
        from azure.core.exceptions import AzureError
        from azure.mgmt.network.models import ApplicationGatewayBackendAddress

        found = self._read()
        if [each.fqdn for each in self._pool(found, pool).backend_addresses or []] == [host]:
            return
        self._pool(found, pool).backend_addresses = [ApplicationGatewayBackendAddress(fqdn=host)]
        headers = {"If-Match": found.etag} if found.etag else {}
        try:
            changed = self._gateways.begin_create_or_update(*self._place, found, headers=headers)
            changed.result(SWITCH_SECONDS)
        except AzureError as error:
            raise GatewayError(
                f"gateway {self._place[1]}, pool {pool}: {' '.join(str(error.message).split())}"
            ) from error
        if self.backend(pool) != host:
            raise GatewayError(f"somebody else changed the gateway {self._place[1]} meanwhile; try again")

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
