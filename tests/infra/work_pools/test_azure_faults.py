"""Each fault of Azure while a flow run is started, runs or is removed: the state it ends in, and the next run."""

from pathlib import Path
from typing import Any

import pytest

from tests.infra.twin import ROOT
from tests.infra.work_pools.conftest import Pool, landing_zone, worker_of

pytestmark = pytest.mark.timeout(300)
State = dict[str, Any]
CONTAINER_GROUPS, IDENTITY_OPERATOR = "5d977122-f97e-4b4d-a52f-6b43003ddb4d", "f1a07417-d97a-45cb-824c-7a7467783830"
DEPLOYMENT, GROUP = "Microsoft.Resources/deployments/prefect-", "Microsoft.ContainerInstance/containerGroups/"
# The fault, how it is asked for (its match is the group's name), and what Azure says in the run's state.
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "throttled": ({"method": "PUT", "times": 2}, "COMPLETED", ""),
    "unavailable": ({"method": "PUT", "times": 2}, "COMPLETED", ""),
    "network cut": ({"method": "PUT", "times": 2}, "COMPLETED", ""),
    "no capacity": ({}, "CRASHED", "is not available in the location 'westeurope' at this moment"),
    "quota": ({}, "CRASHED", "container group quota 'StandardCores' exceeded in region 'westeurope'"),
    "image pull": ({}, "CRASHED", "is not accessible. Please check the image and registry credential"),
    "expired token": ({"method": "PUT"}, "CRASHED", "ExpiredAuthenticationToken"),
    "crash in start": ({}, "CRASHED", "non-zero status code 1"),
    "slow delete": ({"seconds": 33}, "COMPLETED", ""),  # The worker waits for 30 s.
    "delete fails": ({}, "COMPLETED", ""),
}


@pytest.fixture(scope="module")
def ends(pool: Pool) -> dict[str, list[State]]:
    """By fault, the state of the run that it struck and of the next one."""
    pool.twin.reset()
    landing_zone(pool.twin)
    deployed = {fault: pool.deploy("completes", fault.replace(" ", "-")) for fault in CASES}
    for fault, (how, _, _) in CASES.items():
        pool.twin.fail(fault, match=f"/(prefect-)?{fault.replace(' ', '-')}-[0-9a-f-]{{36}}(/|$)", **how)
    states: dict[str, list[State]] = {fault: [] for fault in CASES}
    for again in (False, True):
        failed = {fault for fault, (_, expected, _) in CASES.items() if not again or expected != "COMPLETED"}
        runs = {fault: pool.server.start(deployed[fault], number=1) for fault in failed}
        for fault, run in runs.items():
            states[fault].append(pool.server.wait(run, seconds=200))
    return states


@pytest.mark.parametrize("fault", CASES)
def test_the_run_ends_in_the_right_state_with_azures_error(ends: dict[str, list[State]], fault: str) -> None:
    _, expected, says = CASES[fault]
    state = ends[fault][0]
    assert state["type"] == expected, state["message"]
    assert says in (state["message"] or "")


@pytest.mark.parametrize("fault", [fault for fault, (_, expected, _) in CASES.items() if expected != "COMPLETED"])
def test_the_next_run_completes(ends: dict[str, list[State]], fault: str) -> None:
    assert ends[fault][1]["type"] == "COMPLETED", ends[fault][1]["message"]


@pytest.mark.usefixtures("ends")
def test_nothing_is_left(pool: Pool) -> None:
    """But a group that Azure would not delete, which the reaper finds by its tag."""
    pool.twin.wait_for(lambda: len(pool.twin.groups()) == 1)
    assert pool.twin.control.get("/twin/faults").json()["waiting"] == []
    (left,) = pool.twin.resources("containerGroups")
    assert left["name"] == f"delete-fails-{left['tags']['mlops-flow-run']}"
    pool.twin.arm("DELETE", left["id"], "2023-05-01")
    pool.twin.wait_for_groups([])


def test_the_platform_restarts_a_running_group(pool: Pool, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    deployment = pool.server.deploy("tests/infra/work_pools/training_flows.py:once", "operations", ROOT, "restarted")
    run = pool.server.start(deployment, marker=str(marker))
    pool.twin.wait_for(marker.exists, 120)
    (group,) = pool.groups_of(run)
    assert pool.twin.control.post("/twin/restart", json={"resource": group["id"]}).status_code == 204
    assert pool.server.wait(run)["type"] == "COMPLETED"
    pool.twin.wait_for_groups([])
    states = [state["type"] for state in pool.server.history(run)]
    assert states[-3:] == ["RUNNING", "RUNNING", "COMPLETED"]  # The first attempt ended with its container.


@pytest.mark.parametrize(
    ("role", "says"),
    [
        # Its cleaning up is refused, too, and that is what it says in the end.
        (CONTAINER_GROUPS, "'Microsoft.ContainerInstance/containerGroups/delete' over scope '/subscriptions/"),
        (IDENTITY_OPERATOR, "not have permission to perform action 'Microsoft.ManagedIdentity/userAssignedIdentities/"),
    ],
    ids=["container groups", "flows' identity"],
)
def test_a_worker_without_a_role_crashes_the_run_in_azures_words_and_leaves_nothing(
    pool: Pool, role: str, says: str
) -> None:
    pool.twin.reset()
    landing_zone(pool.twin)
    deployed, worker = pool.deploy("completes", "roleless"), worker_of(pool.twin)
    worker.lose(role)
    state = pool.server.wait(pool.server.start(deployed, number=1))
    assert state["type"] == "CRASHED"
    assert f"The client '{worker.client}' with object id '{worker.object}'" in state["message"]
    assert says in state["message"]
    assert pool.twin.groups() == []
    landing_zone(pool.twin)
    assert pool.server.wait(pool.server.start(deployed, number=1))["type"] == "COMPLETED"
    pool.twin.wait_for_groups([])


def test_a_run_that_goes_on_while_its_group_is_deleted_is_tried_again_when_that_is_gone(pool: Pool) -> None:
    """What a suspended run meets that is resumed in these seconds: its group always has the same name."""
    pool.twin.reset()
    landing_zone(pool.twin)
    pool.twin.fail("slow delete", match="again-", seconds=30)
    run = pool.server.start(pool.deploy("completes", "again"), number=1)
    assert pool.server.wait(run)["type"] == "COMPLETED"
    pool.twin.wait_for(lambda: not pool.twin.waiting())
    pool.server.post(f"/flow_runs/{run}/set_state", state={"type": "SCHEDULED"}, force=True)
    state = pool.server.wait(run, "CRASHED")
    assert f"The container group 'again-{run}' is still transitioning, please retry later" in state["message"]
    pool.twin.wait_for_groups([])
    pool.server.post(f"/flow_runs/{run}/set_state", state={"type": "SCHEDULED"}, force=True)
    assert pool.server.wait(run, "COMPLETED")["type"] == "COMPLETED"
    pool.twin.wait_for_groups([])
