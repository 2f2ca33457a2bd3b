"""``mlops run`` on a Prefect server: it starts what was named, and says what is wrong with what was asked."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from deployments.cli import main
from tests.infra.prefect_server import PrefectServer
from tests.infra.twin import ROOT

SCHEMA = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "version": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "days": {"type": "integer"},
    },
    "required": ["model"],
}


pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def deployed(prefect_server: PrefectServer) -> str:
    prefect_server.post("/work_pools/", name="by-hand", type="process")
    prefect_server.deploy("flows/release.py:release", "by-hand", ROOT, parameter_openapi_schema=SCHEMA)
    return "release-by-hand"


@pytest.fixture(autouse=True)
def server(prefect_server: PrefectServer, deployed: str, monkeypatch: pytest.MonkeyPatch) -> PrefectServer:
    assert deployed
    monkeypatch.setenv("MLOPS_PREFECT_URL", prefect_server.url)
    return prefect_server


def test_a_run_is_started_with_the_parameters_in_their_types(
    server: PrefectServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "release-by-hand", "model=iris", "version=2", "days=30"]) == 0
    told = capsys.readouterr().out.strip()
    assert f"{server.url.removesuffix('/api')}/runs/flow-run/" in told
    run: dict[str, Any] = server.api.get(f"/flow_runs/{told.rpartition('/')[2]}").json()
    assert run["parameters"] == {"model": "iris", "version": "2", "days": 30}
    assert run["state"]["type"] == "SCHEDULED"


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [("COMPLETED", 0, "Completed all well"), ("FAILED", 1, "Failed all well"), ("PAUSED", 3, "Suspended all well")],
)
def test_it_waits_until_the_run_is_over_or_waits_itself(
    server: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str,
    code: int,
    said: str,
) -> None:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    read, told = SyncPrefectClient.read_flow_run, {"type": state, "name": state.capitalize(), "message": "all well"}
    if state == "PAUSED":
        told["name"] = "Suspended"
    seen: list[str] = []

    def answer(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
        """The run ends after it was found not to have ended twice."""
        if len(seen) == 2:
            server.post(f"/flow_runs/{run_id}/set_state", state=told, force=True)
        found = read(client, run_id)
        seen.append(found.state_name or "")
        return found

    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", answer)
    assert main(["run", "--wait", "release-by-hand", "model=iris", "days=7"]) == code
    assert seen == ["Scheduled", "Scheduled", told["name"]]
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_a_server_that_refuses_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answer = httpx.MockTransport(lambda _: httpx.Response(401, json={"exception_message": "Unauthorized"}))
    monkeypatch.setattr("prefect.client.base.PrefectHttpxSyncClient._transport_for_url", lambda *_: answer)
    assert main(["run", "release-by-hand", "model=iris"]) == 2
    assert "refused: Client error '401 Unauthorized'" in capsys.readouterr().err


def test_a_run_is_followed_while_the_server_starts_again_and_no_longer(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    read, codes = SyncPrefectClient.read_flow_run, [503, 404]

    def answer(client: SyncPrefectClient, run_id: UUID) -> FlowRun:
        if codes:
            request = httpx.Request("GET", server.url)
            raise httpx.HTTPStatusError("it starts", request=request, response=httpx.Response(codes.pop(0)))
        server.post(f"/flow_runs/{run_id}/set_state", state={"type": "COMPLETED"}, force=True)
        return read(client, run_id)

    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", answer)
    assert main(["run", "--wait", "release-by-hand", "model=iris", "days=8"]) == 0
    codes += [503] * 9
    monkeypatch.setattr("deployments.commands.run.PATIENCE_SECONDS", 2.0)
    assert main(["run", "--wait", "release-by-hand", "model=iris", "days=9"]) == 2
    assert "the run cannot be followed any more: it starts" in capsys.readouterr().err
    codes[:] = [401]
    assert main(["run", "--wait", "release-by-hand", "model=iris", "days=9"]) == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["relaese"], "there is no deployment 'relaese'; there are"),
        (["release-by-hand"], "release-by-hand needs model=…"),
        (["release-by-hand", "model"], "'model' is no parameter of release-by-hand; write days=…, model=…, version=…"),
        (["release-by-hand", "modle=iris"], "'modle=iris' is no parameter of release-by-hand"),
        (["release-by-hand", "model=iris", "days=many"], "'days=many': Expecting value"),
    ],
)
def test_what_cannot_be_started_is_said(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *asked]) == 2
    assert said in capsys.readouterr().err


def test_a_server_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_PREFECT_URL", "http://127.0.0.1:9/api")
    assert main(["run", "training", "model=iris"]) == 2
    assert "no Prefect server answers at http://127.0.0.1:9/api" in capsys.readouterr().err
