"""What Container Instances accepts, refuses and hides; pure functions over bodies of container groups."""

import time
from collections import deque
from typing import Any

from infra.azure_twin.errors import AzureError, documented

Body = dict[str, Any]
GROUPS = 100
"""Container groups in a region, standard SKU."""
CORES = 100
"""Cores of the standard SKU in a region, for a pay-as-you-go subscription."""
CREATES_AN_HOUR = 300
GROUP_CORES = 31


class CreateRate:
    """Azure makes so many container groups in an hour and no more."""

    def __init__(self) -> None:
        self._made: deque[float] = deque()

    def check(self) -> None:
        """Count one more.

        Raises:
            AzureError: it is one too many.
        """
        while self._made and self._made[0] < time.monotonic() - 3600:
            self._made.popleft()
        if len(self._made) >= CREATES_AN_HOUR:
            raise documented("throttled", operation="Write")
        self._made.append(time.monotonic())


def check(name: str, body: Body) -> None:
    """Refuse what can be no container group.

    Raises:
        AzureError: with the error that Azure has for it.
    """
    properties = body.get("properties") or {}
    containers = properties.get("containers") or []
    if not containers:
        raise AzureError(
            400, "ContainersNotSpecified", f"The 'containers' for container group '{name}' is not specified."
        )
    if properties.get("osType") not in ("Linux", "Windows"):
        raise AzureError(400, "InvalidOsType", f"The 'osType' for container group '{name}' is invalid.")
    if properties.get("restartPolicy", "Always") not in ("Always", "OnFailure", "Never"):
        raise AzureError(400, "InvalidRestartPolicy", f"The 'restartPolicy' for container group '{name}' is invalid.")
    for container in containers:
        inner = container.get("properties") or {}
        requests = (inner.get("resources") or {}).get("requests") or {}
        if "cpu" not in requests or "memoryInGB" not in requests:
            raise documented("resources missing", container=container["name"], group=name)
        if not inner.get("image"):
            raise AzureError(
                400,
                "InvalidImage",
                f"The image is not specified for container '{container['name']}' in container group '{name}'.",
            )
    cores = sum(float(each["properties"]["resources"]["requests"]["cpu"]) for each in containers)
    if cores > GROUP_CORES:
        raise AzureError(
            400,
            "InvalidCpuRequest",
            f"The CPU request {cores:g} of container group '{name}' exceeds the maximum of {GROUP_CORES}.",
        )


def check_update(name: str, known: Body, body: Body) -> None:
    """Refuse an update of what cannot change on a living group.

    Raises:
        AzureError: OS, restart policy, CPU or memory, GPU, network or label would change.
    """
    if fixed(known["properties"]) != fixed(body["properties"]):
        raise documented("immutable", group=name)


def fixed(properties: Body) -> Any:
    """What cannot change on a living group."""
    address = properties.get("ipAddress") or {}
    return (
        properties["osType"],
        properties.get("restartPolicy", "Always"),
        properties.get("subnetIds"),
        properties.get("sku", "Standard"),
        properties.get("diagnostics"),
        address.get("type"),
        address.get("dnsNameLabel"),
        sorted(
            (each["name"], float(requests["cpu"]), float(requests["memoryInGB"]), str(requests.get("gpu")))
            for each in properties["containers"]
            for requests in [each["properties"]["resources"]["requests"]]
        ),
    )


def check_label(properties: Body, others: list[Body], location: str) -> None:
    """Refuse a DNS label that another group of the region has.

    Raises:
        AzureError: it is taken.
    """
    label = (properties.get("ipAddress") or {}).get("dnsNameLabel")
    taken = {(other.get("ipAddress") or {}).get("dnsNameLabel") for other in others}
    if label and label in taken:
        raise documented("dns label", label=label, location=location)


def check_quota(properties: Body, others: list[Body], location: str) -> None:
    """Refuse a group beyond the subscription's quota.

    Raises:
        AzureError: too many groups, or too many cores.
    """
    if len(others) >= GROUPS:
        raise documented(
            "quota", quota="ContainerGroups", location=location, limit=GROUPS, usage=len(others), requested=1
        )
    usage, wanted = sum(requested(each, "cpu") for each in others), requested(properties, "cpu")
    if usage + wanted > CORES:
        raise documented(
            "quota", quota="StandardCores", location=location, limit=CORES, usage=f"{usage:g}", requested=f"{wanted:g}"
        )


def requested(properties: Body, name: str) -> float:
    """How much of a resource (``cpu`` in cores, ``memoryInGB``) a group asks for."""
    return sum(float(each["properties"]["resources"]["requests"][name]) for each in properties["containers"])


def without_secrets(resource: Body) -> Body:
    """What Azure lets be read back: secure values, passwords, keys and secret volumes are left out."""
    properties = resource.get("properties", {})
    for container in [*properties.get("containers", []), *properties.get("initContainers", [])]:
        for variable in container["properties"].get("environmentVariables") or []:
            variable.pop("secureValue", None)
    for credential in properties.get("imageRegistryCredentials") or []:
        credential.pop("password", None)
    for volume in properties.get("volumes") or []:
        if "secret" in volume:
            volume["secret"] = {}
        if "azureFile" in volume:
            volume["azureFile"].pop("storageAccountKey", None)
    if analytics := (properties.get("diagnostics") or {}).get("logAnalytics"):
        analytics.pop("workspaceKey", None)
    return resource
