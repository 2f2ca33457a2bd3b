"""Faults on demand: what fails, for which requests or resources, how often."""

import asyncio
import re
from collections.abc import Iterable

import msgspec

from infra.azure_twin.errors import documented

TRANSPORT = {
    "throttled": "429 with Retry-After",
    "unavailable": "503",
    "network cut": (
        "the connection is reset before an answer; without `method` also those to a container group, or to a store "
        "that `--forward` names"
    ),
    "answer lost": "the request is carried out, and the connection is reset before its answer",
    "expired token": "401 ExpiredAuthenticationToken",
    "claims challenge": "401 with a claims challenge",
    "wrong secret": "401 AADSTS7000215 from Entra",
    "forbidden": "403 as the service answers a caller without a role: AuthorizationFailed, of a vault Forbidden",
    "slow": "the answer takes `seconds`",
}
"""Faults between any service and who asks it."""
SERVICE = {
    "no capacity": "409 ServiceUnavailable when a container group is made",
    "quota": "409 ContainerGroupQuotaReached when a container group is made",
    "image pull": "400 InaccessibleImage when a container group is made",
    "slow pull": "the containers of a group that is made, replaced or started come `seconds` later",
    "crash in start": "containers end with exit code 1 as soon as they are started",
    "slow delete": "deleting a container group or a resource group takes `seconds`",
    "delete fails": "deleting a container group or a resource group ends in 500 InternalServerError",
    "slow gateway": "a change of an Application Gateway is shown at once and holds `seconds` later",
    "address change": "the next start of a group gets another address",
}
"""Faults inside Resource Manager, Container Instances and Application Gateway; other services of the twin add theirs by
``describe``."""


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One fault; it strikes ``times`` times after ``skip`` matches, then it is over."""

    kind: str
    method: str = ""
    """HTTP method; empty: any."""
    match: str = ""
    """Regular expression searched in ``host/path`` (or a resource's id), in any case."""
    skip: int = 0
    times: int = 1
    seconds: float = 0.0
    """Delay of a slow fault; ``Retry-After`` of a throttled one."""
    struck: int = 0


class UnknownFault(ValueError):
    """A fault's kind is none of the twin's."""


class Faults:
    """The faults that were asked for and have not struck often enough yet."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self.kinds = TRANSPORT | SERVICE

    def describe(self, kind: str, meaning: str) -> None:
        """Add a kind that a service of the twin asks for."""
        self.kinds = self.kinds | {kind: meaning}

    def add(self, fault: Fault) -> None:
        """Ask for a fault.

        Raises:
            UnknownFault: there is no such kind.
            re.error: ``match`` is no regular expression.
        """
        if fault.kind not in self.kinds:
            raise UnknownFault(f"no fault {fault.kind!r}; there are: {', '.join(self.kinds)}")
        re.compile(fault.match)
        self._waiting.append(fault)

    def take(self, kinds: Iterable[str], target: str, method: str = "") -> Fault | None:
        """The first fault of these kinds that strikes this target now."""
        wanted = set(kinds)
        for fault in self._waiting:
            if fault.kind not in wanted or (fault.method and method and fault.method != method):
                continue
            if not re.search(fault.match, target, re.IGNORECASE):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.struck += 1
            if fault.struck >= fault.times:
                self._waiting.remove(fault)
            return fault
        return None

    async def strike_delete(self, resource: str, time: str, subscription: str) -> None:
        """Let deleting a resource be slow, or fail.

        Raises:
            AzureError: it fails.
        """
        fault = self.take(["slow delete", "delete fails"], resource, "DELETE")
        if fault and fault.seconds:
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind == "delete fails":
            raise documented("delete fails", time=time, subscription=subscription)

    def waiting(self) -> list[Fault]:
        """Those that have not struck often enough."""
        return list(self._waiting)

    def clear(self) -> None:
        """Let nothing fail any more."""
        self._waiting.clear()
