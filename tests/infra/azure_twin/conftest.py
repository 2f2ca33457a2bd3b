"""A client of Container Instances, and the resource group that its container groups are in."""

import pytest
from azure.identity import DefaultAzureCredential
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.resource import ResourceManagementClient

from tests.infra.twin import GROUP, RunningTwin


@pytest.fixture
def client(azure_twin: RunningTwin) -> ContainerInstanceManagementClient:
    resources = ResourceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    resources.resource_groups.create_or_update(GROUP, {"location": "westeurope"})
    return ContainerInstanceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
