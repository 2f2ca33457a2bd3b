"""The container groups of a resource group, whoever made them: found by a tag.

Asked for by their own type, for which the role on container groups is enough: a list of all of a resource group's
resources needs one more.
"""

from typing import TYPE_CHECKING

from mlops.adapters.azure_resources import Resource, translated

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


def tagged(credential: "TokenCredential", subscription: str, group: str, tag: str) -> list[Resource]:
    """Container groups that carry a tag, whatever its value; none when there is no such resource group.

    Raises:
        ResourceError: Azure refuses.
    """
    from azure.core.exceptions import ResourceNotFoundError
    from azure.mgmt.containerinstance import ContainerInstanceManagementClient

    client = ContainerInstanceManagementClient(credential, subscription)
    with translated(f"list container groups of {group}"):
        try:
            found = list(client.container_groups.list_by_resource_group(group))
        except ResourceNotFoundError:
            return []
    shown = [
        Resource(id=str(each.id), name=str(each.name), type=str(each.type), tags=each.tags or {}) for each in found
    ]
    return [each for each in shown if tag in each.tags]
