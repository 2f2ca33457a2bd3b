"""Long-running operations of Resource Manager, whatever their work meets."""

import asyncio

import pytest

from infra.azure_twin.arm import Arm
from infra.azure_twin.errors import AzureError
from infra.azure_twin.operations import Operation
from infra.azure_twin.resource_ids import parse
from infra.azure_twin.tokens import Tokens

RESOURCE = parse("/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerInstance/containerGroups/c")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (AzureError(409, "Conflict", "somebody else was quicker"), "Conflict", "somebody else was quicker"),
        (TimeoutError("it did not start"), "InternalServerError", "TimeoutError: it did not start"),
    ],
)
def test_the_follower_of_an_operation_hears_of_any_error(error: Exception, code: str, says: str) -> None:
    async def fail() -> None:
        raise error

    async def follow() -> Operation:
        operation = Arm(Tokens("a-tenant"), "s", "westeurope").begin(RESOURCE, fail())
        await operation.task
        return operation

    shown = asyncio.run(follow()).view()
    assert shown["status"] == "Failed"
    assert shown["endTime"]
    assert (shown["error"]["code"], shown["error"]["message"]) == (code, says)
