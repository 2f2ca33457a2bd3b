"""The closed loop, as ``make demo`` plays it, in a state directory and on ports of its own."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from mlops.adapters.ledger import Ledger
from mlops.adapters.store import FolderStore
from tests.e2e.browser import answer_approval
from tests.e2e.drifted import days_of_wrong_labels
from tests.e2e.stack import Stack
from tests.e2e.state_folders import owned_processes, state_folder

IRIS = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
pytestmark = [pytest.mark.alone, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def demo() -> Iterator[Stack]:
    with state_folder() as folder:
        played = Stack(folder / "state")
        try:
            done = played.run("deployments.demo")
            assert done.returncode == 0, done.stdout + done.stderr
            yield played
        finally:
            played.run("deployments.local", "down")
            played.api.close()


def test_demo_json_tells_the_whole_story(demo: Stack) -> None:
    written = demo.written
    assert written["prefect_ui"].endswith(f":{demo.ports[0]}")
    assert httpx.get(written["mlflow_ui"], trust_env=False).status_code == 200
    assert httpx.get(written["evidently_report"], trust_env=False).status_code == 200
    for model in ("iris", "flights"):
        for environment in ("uat", "prod"):
            entry = written["models"][model][environment]
            assert set(entry) == {"url", "key", "version", "digest"}
            ready = httpx.get(f"{entry['url']}/readyz", trust_env=False).json()
            assert ready["champion"] == {"digest": entry["digest"], "version": entry["version"]}
    weeks = written["flights"]["weeks"]
    assert [week["week"] for week in weeks] == list(range(9, 21))
    fields = {"week", "rows", "verdict", "reasons", "version", "auc", "log_loss", "frozen_auc", "frozen_log_loss"}
    assert all(set(week) == fields and week["rows"] > 5000 and week["reasons"] for week in weeks)
    outcomes = {each["alarm"]: each for each in written["flights"]["outcomes"]}
    assert outcomes[written["flights"]["retraining"]["alarm"]]["reason"]


def test_the_automation_made_the_retraining(demo: Stack) -> None:
    told = demo.written["flights"]["retraining"]
    deployment = demo.deployment("retraining/retraining")
    run = demo.ask(f"/flow_runs/{told['flow_run_id']}")
    assert run["deployment_id"] == deployment["id"]
    assert run["created_by"]["type"] == "AUTOMATION"
    assert run["created_by"]["id"] == told["automation_id"]
    automation = demo.ask(f"/automations/{told['automation_id']}")
    assert automation["actions"][0]["deployment_id"] == deployment["id"]
    assert set(automation["trigger"]["expect"]) == {"mlops.drift.detected", "mlops.retraining.due"}
    assert int(told["to_version"]) > int(told["from_version"])
    assert 0 < told["seconds_event_to_serving"] < 300


def test_the_new_version_serves_the_weeks_after_its_release(demo: Stack) -> None:
    written = demo.written["flights"]
    told, weeks = written["retraining"], written["weeks"]
    before = [week for week in weeks if week["version"] == told["from_version"]]
    after = [week for week in weeks if int(week["version"]) >= int(told["to_version"])]
    refresh = Ledger(FolderStore(demo.state / "store"), "flights").find("refresh", told["window"])
    assert before[-1]["verdict"] == "retrain" or (refresh and refresh.decision == "due")
    assert len(after) >= 2
    # While the first version serves, the model in place is the frozen one.
    assert all(week["log_loss"] == pytest.approx(week["frozen_log_loss"], abs=1e-4) for week in before)
    assert all(week["log_loss"] != pytest.approx(week["frozen_log_loss"], abs=1e-4) for week in after)


def test_iris_answers_in_prod_as_the_contract_says(demo: Stack) -> None:
    prod = demo.written["models"]["iris"]["prod"]
    key = {"Authorization": f"Bearer {prod['key']}"}
    with httpx.Client(base_url=prod["url"], trust_env=False) as client:
        answer = client.post("/score", json=IRIS, headers=key)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) > 0
        assert answer.json()["output"] == {"predicted_species": "1"}
        assert answer.json()["model"]["version"] == prod["version"]
        assert client.post("/score", json=IRIS).status_code == 401
        missing = client.post("/score", json={k: v for k, v in IRIS.items() if k != "PetalWidthCm"}, headers=key)
        assert (missing.status_code, "PetalWidthCm" in missing.text) == (422, True)
        text = client.post("/score", json=IRIS | {"SepalWidthCm": "three"}, headers=key)
        assert (text.status_code, "SepalWidthCm" in text.text) == (422, True)


def test_the_artifacts_are_there(demo: Stack) -> None:
    keys = {artifact["key"]: artifact["type"] for artifact in demo.ask("/artifacts/filter", limit=200)}
    expected = {
        "iris-confusion-matrix": "image",
        "iris-metrics": "markdown",
        "iris-smoke-uat": "table",
        "iris-gates": "table",
        "iris-release-evidence": "markdown",
        "flights-verdict": "markdown",
        "flights-evidently": "markdown",
        "flights-evidently-summary": "markdown",
        "flights-windows": "table",
        "flights-outcome": "markdown",
    }
    assert expected.items() <= keys.items()


def test_a_second_demo_finds_everything_done(demo: Stack) -> None:
    before = demo.written
    runs = demo.ask("/flow_runs/count", flow_runs={})
    done = demo.run("deployments.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert demo.written == before
    scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert demo.ask("/flow_runs/count", flow_runs={}) <= runs + demo.ask("/flow_runs/count", **scheduled)


def test_training_again_makes_the_same_bundle(demo: Stack) -> None:
    def digests() -> list[str]:
        query = {"filter": "name = 'iris'"}
        found = httpx.get(
            f"{demo.written['mlflow_ui']}/api/2.0/mlflow/model-versions/search", params=query, trust_env=False
        ).json()
        return [tag["value"] for each in found["model_versions"] for tag in each["tags"] if tag["key"] == "digest"]

    before = digests()
    assert before == [demo.written["models"]["iris"]["prod"]["digest"]]
    assert demo.finish("training/training", model="iris")["state_type"] == "COMPLETED"
    assert digests() == before


def test_deploying_again_changes_nothing(demo: Stack) -> None:
    def shape() -> Any:
        deployments = demo.ask("/deployments/filter", limit=100)
        automations = demo.ask("/automations/filter", limit=100)
        return [
            sorted((each["id"], each["updated"], tuple(s["id"] for s in each["schedules"])) for each in deployments),
            sorted((each["id"], each["updated"]) for each in automations),
        ]

    before = shape()
    done = demo.run("deployments.apply")
    assert (done.returncode, done.stdout.partition(":")[0]) == (0, "unchanged"), done.stderr
    assert shape() == before


def test_a_rejection_leaves_prod_as_it_was(demo: Stack) -> None:
    prod = demo.written["models"]["iris"]["prod"]
    ready = httpx.get(f"{prod['url']}/readyz", trust_env=False).json()
    landing = demo.state / "store" / "iris" / "landing"
    lines = (landing / "iris.csv").read_text("utf-8").splitlines(keepends=True)
    (landing / "more.csv").write_text("".join(lines[:60]), "utf-8")
    for deployment in ("ingestion/ingestion", "training/training", "validation/validation"):
        assert demo.finish(deployment, model="iris")["state_type"] == "COMPLETED"
    release = demo.deployment("release/release")["id"]

    def asking() -> dict[str, Any] | None:
        runs = demo.ask(
            "/flow_runs/filter",
            flow_runs={"deployment_id": {"any_": [release]}, "state": {"type": {"any_": ["PAUSED"]}}},
        )
        return next(iter(runs), None)

    run = demo.wait(asking)
    empty = demo.ask(f"/flow_runs/{run['id']}/resume", run_input={})
    assert empty["status"] != "ACCEPT", "a decision and a name are required"
    page = f"{demo.written['prefect_ui']}/runs/flow-run/{run['id']}"
    shown = answer_approval(page, "reject", "tester", "sixty rows are doubled", demo.state / "approval.png")
    for evidence in (
        "Release iris version 2 to PROD?",
        "challenger 2",
        "champion 1",
        "UAT smoke test",
        "golden record",
    ):
        assert evidence in shown
    over = demo.wait(lambda: demo.ended(run["id"]))
    assert over["state_name"] == "Rejected"
    assert "by tester: sixty rows are doubled" in over["state"]["message"]
    assert httpx.get(f"{prod['url']}/readyz", trust_env=False).json() == ready
    entries = [json.loads(file.read_bytes()) for file in (demo.state / "store/iris/ledger/release").iterdir()]
    rejected = [entry for entry in entries if entry["decision"] == "rejected"]
    assert [entry["reasons"] for entry in rejected] == [["by tester: sixty rows are doubled"]]


def test_an_alarm_retrains_once_in_a_storm_of_events_and_after_a_kill(demo: Stack) -> None:
    """Two checks at once, 200 events more, the first run killed in the middle, two runs by hand: one retraining."""
    days_of_wrong_labels(demo, 3, 2)
    checks = [demo.start("drift_check/drift-check", model="iris") for _ in range(2)]
    first = demo.wait(lambda: next(iter(retrainings(demo)), None))
    alarm = first["parameters"]["alarm"]
    demo.ask_list("/events", [drift_event("iris", alarm) for _ in range(200)])
    demo.wait(lambda: ledger(demo, "iris", "claim"))
    kill_flow_run(demo, first["id"])
    assert demo.wait(lambda: demo.ended(first["id"]))["state_type"] == "CRASHED"
    for check in checks:
        assert demo.wait(lambda check=check: demo.ended(check), 300)["state_type"] == "COMPLETED"
    told = ledger(demo, "iris", "verdict")
    assert [entry["decision"] for entry in told] == ["investigate", "retrain"]
    assert told[-1]["subject"] == alarm
    assert len(retrainings(demo)) == 1, "202 events started one run"

    # The automation's cool-down on this window ends 60 s after the event that it fired for.
    created = datetime.fromisoformat(first["created"])
    demo.wait(lambda: datetime.now(UTC) > created + timedelta(seconds=62))
    assert demo.finish("watchdog/watchdog", model="iris", patience_minutes=0)["state_type"] == "COMPLETED"
    second = demo.wait(lambda: next((run for run in retrainings(demo) if run["id"] != first["id"]), None))
    assert second["created_by"]["type"] == "AUTOMATION"
    late = [demo.start("retraining/retraining", model="iris", alarm=alarm) for _ in range(2)]
    # Runs that wait for the deployment's one slot get it in any order: whichever is first does the work.
    asked = [second["id"], *late]
    done = {run: demo.wait(lambda run=run: demo.ended(run), 300) for run in asked}
    assert [run["state_type"] for run in done.values()] == ["COMPLETED"] * 3
    (answer,) = ledger(demo, "iris", "retraining")
    assert (answer["subject"], answer["flow_run"] in asked) == (alarm, True)
    for run, over in done.items():
        assert ("answered" in over["state"]["message"]) == (run != answer["flow_run"]), over["state"]["message"]
    assert answer["decision"] == "refused by validation", "species that swapped their names fail the golden records"
    assert [entry["flow_run"] for entry in ledger(demo, "iris", "claim")] == [first["id"], answer["flow_run"]]


def ledger(stack: Stack, model: str, kind: str) -> list[dict[str, Any]]:
    """The entries of a kind, oldest first."""
    files = (stack.state / "store" / model / "ledger" / kind).glob("*.json")
    return sorted((json.loads(file.read_bytes()) for file in files), key=lambda entry: entry["time"])


def retrainings(stack: Stack) -> list[dict[str, Any]]:
    """The retrainings of iris, oldest first."""
    deployment = {"deployment_id": {"any_": [stack.deployment("retraining/retraining")["id"]]}}
    runs = stack.ask("/flow_runs/filter", flow_runs=deployment, limit=200)
    return sorted((run for run in runs if run["parameters"]["model"] == "iris"), key=lambda run: run["created"])


def drift_event(model: str, alarm: str) -> dict[str, Any]:
    resource = {"prefect.resource.id": f"mlops.model.{model}", "mlops.window": alarm}
    return {
        "id": str(uuid4()),
        "event": "mlops.drift.detected",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": resource,
        "payload": {"model": model, "alarm": alarm, "window": alarm, "version": "1"},
    }


def kill_flow_run(stack: Stack, run: str) -> None:
    """Kill the process of a flow run at once, as a machine that fails would."""
    for process in owned_processes(stack.state):
        with suppress(psutil.NoSuchProcess):
            environment = process.environ()
            if run in (environment.get("PREFECT__FLOW_RUN_ID"), environment.get("PREFECT_FLOW_RUN_ID")):
                process.kill()


def test_no_secret_is_in_the_store_the_logs_or_prefect(demo: Stack) -> None:
    keys = [file.read_text("utf-8").strip().encode() for file in (demo.state / "secrets").iterdir()]
    assert len(keys) == 4
    searched = [file for part in ("store", "logs") for file in (demo.state / part).rglob("*") if file.is_file()]
    assert len(searched) > 50
    for file in searched:
        content = file.read_bytes()
        assert not any(key in content for key in keys), file
    told = json.dumps(
        [demo.ask(f"/{kind}/filter", limit=200) for kind in ("flow_runs", "artifacts", "logs", "deployments")]
    )
    assert not any(key.decode() in told for key in keys)


def test_down_leaves_no_process_and_no_open_port(demo: Stack) -> None:
    assert owned_processes(demo.state)
    ports = {int(entry["url"].rpartition(":")[2]) for m in demo.written["models"].values() for entry in m.values()}
    done = demo.run("deployments.local", "down")
    assert done.returncode == 0, done.stderr
    assert owned_processes(demo.state) == []
    listening = {c.laddr.port for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.laddr}
    assert not listening & (ports | set(demo.ports))
