"""What flow runs leave on Azure for a moment after their end: container groups, and nodes of a cluster.

A worker deletes a flow run's group once it has seen the container's end, which comes after the flow run's; a cluster
lets a node go when it has been idle for as long as its scale settings say.
"""

import time
from typing import Any

from infra.azure_twin.rehearsal.landing_zone import Subscription
from infra.azure_twin.rehearsal.processes import RehearsalError

FLOW_RUN = "mlops-flow-run"
"""The tag by which a flow run's container group names it; a scoring service's group has none."""
SETTLE_SECONDS = 180.0
"""A flow run that a schedule starts meanwhile lasts half a minute, an idle node a minute."""
POLL_SECONDS = 1.0


def await_settled(azure: Subscription, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until no flow run has a container group, and no cluster a node.

    Raises:
        RehearsalError: some are still there; the message names them.
    """
    deadline = time.monotonic() + seconds
    while left := of_flow_runs(azure):
        if time.monotonic() > deadline:
            raise RehearsalError(f"flow runs left this behind, after {seconds:.0f} s: {', '.join(left)}")
        time.sleep(POLL_SECONDS)


def of_flow_runs(azure: Subscription) -> list[str]:
    """What runs, and is no scoring service."""
    groups = [each["name"] for each in azure.resources() if is_group(each) and FLOW_RUN in each.get("tags", {})]
    busy = {each["name"]: nodes(each) for each in azure.clusters() if nodes(each)}
    named = [f"{count} nodes of the cluster {name}" for name, count in busy.items()]
    return [f"container group {name}" for name in groups] + named


def is_group(resource: dict[str, Any]) -> bool:
    """Whether a resource is a container group."""
    return bool(resource["type"] == "Microsoft.ContainerInstance/containerGroups")


def nodes(cluster: dict[str, Any]) -> int:
    """How many nodes a cluster has, or is about to have."""
    shown = cluster["properties"]["properties"]
    return max(int(shown.get("currentNodeCount") or 0), int(shown.get("targetNodeCount") or 0))
