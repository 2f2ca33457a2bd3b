"""What tasks on Azure share: clients by the settings, the tag of flow runs, and which errors end a task at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlops.adapters.azure_auth import credential
from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.azure_ml_errors import AzureMlError
from mlops.adapters.azure_resources import ResourceError, Resources
from mlops.settings import Settings
from tasks.network import Refused

GROUP_TAG = "mlops-flow-run"
"""The tag of what a flow run made, with the run's id."""


@contextmanager
def refusing() -> Iterator[None]:
    """Let errors that another try cannot change end the task at once."""
    try:
        yield
    except (AzureMlError, ResourceError) as error:
        if error.transient:
            raise
        raise Refused(str(error)) from error


def open_workspace(settings: Settings, group: str = "", name: str = "") -> AzureMl:
    """The workspace of the settings, unless a resource group and a name are given.

    Raises:
        SettingsError: a setting that it takes is empty.
    """
    given = {"azure_resource_group": group, "azure_workspace": name}
    settings.require("azure_subscription", *(setting for setting, value in given.items() if not value))
    return AzureMl(
        credential(settings),
        settings.azure_subscription,
        group or settings.azure_resource_group,
        name or settings.azure_workspace,
    )


def open_resources(settings: Settings) -> Resources:
    """The subscription of the settings.

    Raises:
        SettingsError: there is none.
    """
    settings.require("azure_subscription")
    return Resources(credential(settings), settings.azure_subscription)
