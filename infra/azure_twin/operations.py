"""Long-running operations of Resource Manager, as their followers see them."""

import datetime
from typing import Any

import msgspec

from infra.azure_twin.errors import AzureError
from infra.azure_twin.gate import now
from infra.azure_twin.resource_types import Body


class Operation(msgspec.Struct, kw_only=True):
    """A long-running operation."""

    id: str
    path: str
    """The resource it works on."""
    status: str = "InProgress"
    started: str = msgspec.field(default_factory=now)
    ended: str = ""
    error: AzureError | None = None
    result: Body | None = None
    """What it answers when it is over; none: the resource."""
    task: Any = None

    def view(self) -> Body:
        """As Azure-AsyncOperation answers it."""
        shown: Body = {"id": self.path, "name": self.id, "status": self.status, "startTime": self.started}
        if self.ended:
            shown["endTime"] = self.ended
        return shown | (self.error.body if self.error else {})


def utc(seconds: float) -> str:
    """Unix seconds as Azure writes a time."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
