"""What a container group means, as Azure shows it, and what Azure's errors say."""

from typing import Any

import httpx
from azure.core.exceptions import AzureError
from azure.mgmt.containerinstance import models as aci

from mlops.adapters.scoring_client import follows_environment
from mlops.adapters.services import Service
from mlops.adapters.services.aci_group import DIGEST, ENVIRONMENT, MODEL, SCORING, fixed, image_of, tags_of


def change_of(found: aci.ContainerGroup | None, wanted: aci.ContainerGroup) -> str:
    """What replacing a group means to those who use it; empty when it is as wanted."""
    if found is None or digest_of(found) == digest_of(wanted):
        return ""
    what = "its settings or keys changed"
    if image_of(found) != image_of(wanted):
        what = f"its image changes from {image_of(found)} to {image_of(wanted)}"
    was, shall = fixed(found), fixed(wanted)
    if differing := [name for name in shall if was[name] != shall[name]]:
        return (
            f"its {' and its '.join(differing)} changed, which a living group cannot: it is deleted, replaced by a new "
            "one and does not answer for some minutes; its IP address changes, its name does not"
        )
    return f"{what}: it is replaced in place, Azure restarts its containers, and it does not answer for about a minute"


def service_of(group: aci.ContainerGroup) -> Service:
    """The service of a group."""
    view = _view(group)
    return Service(
        model=tags_of(group)[MODEL],
        environment=tags_of(group)[ENVIRONMENT],
        url=f"https://{group.ip_address.fqdn}" if group.ip_address and group.ip_address.fqdn else "",
        status="running" if runs(group) else "stopped",
        restarts=int(view.restart_count or 0) if view and runs(group) else 0,
    )


def digest_of(group: aci.ContainerGroup) -> str:
    """What the group says that it was made from."""
    return str(tags_of(group).get(DIGEST))


def state_of(group: aci.ContainerGroup) -> str:
    """The group's state: ``Running``, ``Stopped``, …; empty while it is made."""
    return str(group.instance_view.state) if group.instance_view else ""


def _view(group: aci.ContainerGroup) -> aci.ContainerPropertiesInstanceView | None:
    return next((each.instance_view for each in group.containers if each.name == SCORING), None)


def runs(group: aci.ContainerGroup) -> bool:
    """Whether the scoring container runs; a group whose container ends again and again is *Running* to Azure."""
    view = _view(group)
    current = view.current_state if view else None
    return state_of(group) == "Running" and current is not None and current.state == "Running"


def has_ended(group: aci.ContainerGroup) -> bool:
    """Whether the scoring container ended since it was started."""
    view = _view(group)
    if group.provisioning_state == "Failed" or state_of(group) in ("Failed", "Stopped"):
        return True
    return bool(view and (view.restart_count or (view.current_state and view.current_state.state == "Terminated")))


def answers(url: str, model: str, environment: str) -> bool:
    """Whether the service of a model and an environment answers at an address."""
    try:
        told: Any = httpx.get(f"{url}/healthz", timeout=5, trust_env=follows_environment(url)).json()
        return bool((told["model"], told["environment"]) == (model, environment))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False


def reason_of(error: AzureError) -> str:
    """What Azure says, in one line."""
    return " ".join(str(error.message).split())
