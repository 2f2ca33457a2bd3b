"""Flow runs in container groups by the unmodified prefect-azure worker: however they end, no group is left."""

import json
from typing import Any

import pytest

from tests.infra.schemas import check
from tests.infra.work_pools.conftest import SECRET, Pool, landing_zone

pytestmark = pytest.mark.timeout(300)
State = dict[str, Any]


@pytest.fixture(scope="module")
def ends(pool: Pool) -> dict[str, State]:
    """The states in which runs ended that were started at the same time; the last one was cancelled."""
    pool.twin.reset()
    landing_zone(pool.twin)
    given: dict[str, State] = {"waits": {"seconds": 120}, "completes": {"number": 21}, "fails": {}, "lasts": {}}
    runs = {flow: pool.server.start(pool.deploy(flow), **parameters) for flow, parameters in given.items()}
    pool.server.wait(runs["waits"], "RUNNING")
    assert len(pool.groups_of(runs["waits"])) == 1
    pool.server.cancel(runs["waits"])
    return {flow: pool.server.wait(run) for flow, run in runs.items()}


def test_a_flow_run_completes(ends: dict[str, State]) -> None:
    assert ends["completes"]["type"] == "COMPLETED"


def test_a_flow_run_fails(ends: dict[str, State]) -> None:
    assert ends["fails"]["type"] == "FAILED"
    assert "this flow fails" in ends["fails"]["message"]


def test_a_flow_run_exceeds_its_time(ends: dict[str, State]) -> None:
    assert (ends["lasts"]["type"], ends["lasts"]["name"]) == ("FAILED", "TimedOut")


def test_a_flow_run_is_cancelled(ends: dict[str, State]) -> None:
    assert ends["waits"]["type"] == "CANCELLED"


@pytest.mark.usefixtures("ends")
def test_none_leaves_a_group(pool: Pool) -> None:
    pool.twin.wait_for_groups([])


@pytest.mark.usefixtures("ends")
def test_no_secret_and_no_setting_of_this_machine_is_in_a_group(pool: Pool) -> None:
    puts = pool.twin.exchanges("PUT", "Microsoft.Resources/deployments")
    assert len(puts) == 4, [(each["status"], each["path"], each["fault"]) for each in puts]
    for put in puts:
        (container,) = put["request"]["properties"]["template"]["resources"][0]["properties"]["containers"]
        variables = {each["name"]: each for each in container["properties"]["environmentVariables"]}
        name = "PREFECT_API_AUTH_STRING"
        assert variables[name] == {"name": name, "secureValue": SECRET}
        assert variables["MLOPS_STORE"]["value"] == (pool.log.parent / "store").as_uri()
        assert not {"MLOPS_HOME", "MLOPS_STATE_DIR", "AZURE_CLIENT_SECRET"} & set(variables)
        assert not any(SECRET in each.get("value", "") for each in variables.values())
        assert pool.twin.environment["AZURE_CLIENT_SECRET"] not in json.dumps(put["request"])
    assert SECRET not in json.dumps([each["response"] for each in pool.twin.exchanges()])


@pytest.mark.parametrize("version", ["2023-05-01", "2025-09-01"])
@pytest.mark.usefixtures("ends")
def test_the_groups_of_the_template_are_container_groups_to_microsofts_schema(pool: Pool, version: str) -> None:
    for put in pool.twin.exchanges("PUT", "Microsoft.Resources/deployments"):
        check(put["request"]["properties"]["template"]["resources"][0], version)
