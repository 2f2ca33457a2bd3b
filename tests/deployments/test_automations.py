"""The installation's automations on a Prefect server: they end what nobody works on, and nothing that waits."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from deployments import automations
from tests.infra.prefect_server import PrefectServer
from tests.infra.twin import ROOT

pytestmark = pytest.mark.timeout(300)
SILENT = timedelta(seconds=10)
"""The shortest period of such a trigger."""


@pytest.fixture(autouse=True)
def client(prefect_server: PrefectServer) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_HOME: prefect_server.home}):
        yield


def named(server: PrefectServer, name: str) -> list[dict[str, Any]]:
    return [each for each in server.post("/automations/filter", limit=200) if each["name"] == name]


def run_in(server: PrefectServer, deployment: str, *states: str) -> str:
    """A run that went through these states."""
    run = server.start(deployment)
    for state in states:
        server.post(f"/flow_runs/{run}/set_state", state={"type": state.upper(), "name": state}, force=True)
    return run


def beat(server: PrefectServer, run: str) -> None:
    event = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    server.api.post("/events", json=[event]).raise_for_status()


def test_a_silent_run_and_one_that_never_started_are_crashed_and_those_that_wait_are_not(
    prefect_server: PrefectServer,
) -> None:
    server = prefect_server
    for pool in ("watched", "unwatched"):  # Without workers, and no pools of other tests.
        server.post("/work_pools/", name=pool, type="process")
    elsewhere, here = (server.deploy("flows/release.py:release", pool, ROOT) for pool in ("unwatched", "watched"))
    wanted = automations.lost_runs(SILENT), automations.runs_that_never_started(SILENT, pool="watched")
    asyncio.run(automations.ensure(*wanted))
    try:
        silent = run_in(server, elsewhere, "Running")
        preempted = run_in(server, elsewhere, "Running")
        for run in (silent, preempted):
            beat(server, run)
        server.post(
            f"/flow_runs/{preempted}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry"}, force=True
        )
        abandoned, queued = run_in(server, here, "Pending"), run_in(server, elsewhere, "Pending")
        started = run_in(server, here, "Pending", "Running")
        assert "No heartbeat" in server.wait(silent, "CRASHED")["message"]
        assert "It did not start within" in server.wait(abandoned, "CRASHED")["message"]
        later = run_in(server, elsewhere, "Running")
        beat(server, later)
        server.wait(later, "CRASHED")  # So the others had the time to be crashed, too.
        found = [server.state(run)["name"] for run in (preempted, queued, started)]
        assert found == ["AwaitingRetry", "Pending", "Running"]
    finally:
        for automation in wanted:
            for each in named(server, automation.name):
                server.api.delete(f"/automations/{each['id']}").raise_for_status()


def test_one_that_an_earlier_version_made_is_changed_and_stays_off(prefect_server: PrefectServer) -> None:
    earlier, newer = automations.lost_runs(timedelta(seconds=60)), automations.lost_runs()
    asyncio.run(automations.ensure(earlier))
    (made,) = named(prefect_server, newer.name)
    prefect_server.api.patch(f"/automations/{made['id']}", json={"enabled": False}).raise_for_status()
    asyncio.run(automations.ensure(newer))
    (changed,) = named(prefect_server, newer.name)
    assert (changed["id"], changed["enabled"], changed["trigger"]["within"]) == (made["id"], False, 90)
    asyncio.run(automations.ensure(newer))
    (same,) = named(prefect_server, newer.name)
    assert same["updated"] == changed["updated"]
    prefect_server.api.delete(f"/automations/{same['id']}").raise_for_status()
