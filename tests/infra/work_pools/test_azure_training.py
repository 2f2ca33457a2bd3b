"""The pool of Azure ML jobs: our worker, as a process of its own, against the twin and a Prefect server."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.workers.azure_ml import AzureMlWorker
from infra.azure_twin.rehearsal.landing_zone import Subscription, prepare
from mlops.adapters.azure_vault import Vault
from tests.infra.prefect_server import PrefectServer
from tests.infra.principals import Principal
from tests.infra.twin import ROOT, RunningTwin
from tests.infra.work_pools.training_pool import AUTH, Pool

FILE = ROOT / "infra/work_pools/azure/training.json"
PASSWORD = "a-password-of-the-model"
DATA_SCIENTIST, ACR_PULL = "f6c7c914-8db3-469d-8ca1-694a8f32e121", "7f951dda-4ed3-4680-a7ca-43fe172d538d"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def the_pool(
    azure_twin_session: RunningTwin, prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pool]:
    azure_twin_session.reset()
    with pytest.MonkeyPatch.context() as patch:
        azure_twin_session.use(patch)
        pool = Pool(azure_twin_session, prefect_server, tmp_path_factory.mktemp("azure-ml-worker"))
        yield pool
        pool.worker.terminate()
        pool.worker.wait(60)
        azure_twin_session.reset()


@pytest.fixture
def pool(the_pool: Pool) -> Pool:
    the_pool.twin.control.delete("/twin/faults")
    return the_pool


def test_the_file_has_the_fields_of_the_worker() -> None:
    template = json.loads(FILE.read_text("utf-8"))["base_job_template"]
    own = AzureMlWorker.get_default_base_job_template()
    assert template["job_configuration"] == own["job_configuration"]
    assert {k: v | {"default": None} for k, v in template["variables"]["properties"].items()} == {
        k: v | {"default": None} for k, v in own["variables"]["properties"].items()
    }


def test_completes_says_what_it_printed_and_leaves_no_node(pool: Pool) -> None:
    run, state = pool.run("greet", name="azure")
    assert state["type"] == "COMPLETED", state["message"]
    pool.wait_for_log(run, "hello azure")
    pool.wait_for_log(run, "Finished in state Completed()")
    assert pool.server.logs(run).count("Finished in state Completed()") == 1
    assert pool.jobs(run) == ["Completed"]
    pool.wait_for_no_node()


def test_fails_and_runs_out_of_its_flows_time(pool: Pool) -> None:
    late = pool.start("overlong")
    run, state = pool.run("fail")
    assert (state["type"], "no such luck" in state["message"]) == ("FAILED", True)
    assert pool.jobs(run) == ["Completed"]  # A failed flow run is no failed process.
    assert pool.server.wait(late)["name"] == "TimedOut"


def test_runs_out_of_the_jobs_time_and_is_cancelled(pool: Pool) -> None:
    late = pool.start("sleep", {"max_run_seconds": 9})
    cancelled = pool.start("sleep")
    pool.server.wait(cancelled, "RUNNING")
    pool.server.cancel(cancelled)
    assert pool.server.wait(cancelled, "CANCELLED")["type"] == "CANCELLED"
    assert pool.jobs(cancelled) == ["Canceled"]
    state = pool.server.wait(late, "CRASHED")
    assert "exceeded its maximum run duration of 9 seconds" in state["message"]
    pool.wait_for_no_node()


def test_is_preempted_and_starts_anew(pool: Pool, tmp_path: Path) -> None:
    pool.twin.fail("preempted", seconds=7)
    run = pool.start("once", marker=str(tmp_path / "marker"))
    state = pool.server.wait(run, seconds=240)  # Of which the second attempt takes a minute when it is preempted early.
    assert state["type"] == "COMPLETED", state["message"]
    pool.wait_for_log(run, "The node was preempted")
    assert pool.jobs(run) == ["Canceled", "Completed"]


def test_is_preempted_more_often_than_allowed(pool: Pool) -> None:
    pool.twin.fail("preempted", seconds=0.5)
    run, state = pool.run("sleep", {"max_preemptions": 0})
    assert state["type"] == "CRASHED"
    assert "The node was preempted" in state["message"]
    assert pool.jobs(run) == ["Canceled"]


def test_crashes_in_start_and_without_its_image_or_cluster(pool: Pool) -> None:
    pool.twin.fail("job crash")
    run, state = pool.run("greet")
    assert (state["type"], "exited with status code 1" in state["message"]) == ("CRASHED", True)
    pool.wait_for_log(run, "the job dies as it starts")
    _, state = pool.run("greet", {"image": "crmlops.azurecr.io/absent:1"})
    assert (state["type"], "Failed to pull Docker image" in state["message"]) == ("CRASHED", True)
    run, state = pool.run("greet", {"compute": "elsewhere"})
    assert (state["type"], "ComputeNotFound: Target elsewhere not found" in state["message"]) == ("CRASHED", True)
    assert pool.submitted(run) == []


def test_finds_no_node_in_time(pool: Pool) -> None:
    pool.wait_for_no_node()
    pool.twin.fail("no nodes", times=1000)
    run, state = pool.run("greet", {"max_queue_seconds": 2})
    assert (state["type"], "AllocationFailed: Allocation of compute iriscompute" in state["message"]) == (
        "CRASHED",
        True,
    )
    assert pool.jobs(run) == ["Canceled"]


def test_passes_what_passes(pool: Pool) -> None:
    pool.twin.fail("throttled", match="snapshotrun")
    pool.twin.fail("unavailable", match="snapshotrun")
    pool.twin.fail("network cut", match="snapshotrun")
    pool.twin.fail("expired token", match="azureml.ms/history/.*/runs/flow-run", skip=4)
    run, state = pool.run("greet")
    assert state["type"] == "COMPLETED", state["message"]
    assert pool.jobs(run) == ["Completed"]
    assert not pool.twin.control.get("/twin/faults").json()["waiting"]


def test_a_run_whose_worker_was_killed_has_one_job_and_can_be_cancelled(pool: Pool) -> None:
    run = pool.start("sleep", seconds=600)
    pool.server.wait(run, "RUNNING")
    pool.worker.send_signal(signal.SIGKILL)
    pool.worker.wait(10)
    pool.worker = pool.start_worker("second")
    pool.server.cancel(run)
    assert pool.server.wait(run, "CANCELLED")["type"] == "CANCELLED"
    assert pool.jobs(run) == ["Canceled"]
    pool.wait_for_log(run, "goes on with job")
    pool.wait_for_no_node()


def test_secrets_come_from_the_vault_and_no_request_to_azure_ml_holds_one(pool: Pool) -> None:
    Vault(pool.settings).set("model-password", PASSWORD)
    run, state = pool.run("reveal", {"secret_env": {"MODEL_PASSWORD": "model-password"}})
    assert state["type"] == "COMPLETED", state["message"]
    pool.wait_for_log(run, f"secret of {len(PASSWORD)} letters")
    asked = [each for each in pool.twin.exchanges() if "vault.azure.net" not in each["host"]]
    assert any("snapshotrun" in each["path"] for each in asked)
    text = json.dumps(asked)
    assert AUTH not in text
    assert PASSWORD not in text
    run, state = pool.run("greet", {"env": {"MODEL_PASSWORD": PASSWORD}})
    assert (state["type"], "env.MODEL_PASSWORD of the job variables" in state["message"]) == ("CRASHED", True)
    assert pool.submitted(run) == []


def test_without_its_role_the_worker_submits_nothing_and_says_which_is_missing(pool: Pool) -> None:
    pool.worker_identity.lose(DATA_SCIENTIST)
    pool.restart_worker("without a role")
    run, state = pool.run("greet")
    assert state["type"] == "CRASHED"
    assert f"The client '{pool.worker_identity.client}' with object id" in state["message"]
    assert "to perform action 'Microsoft.MachineLearningServices/workspaces/experiments/" in state["message"]
    assert pool.submitted(run) == []
    prepare(Subscription(pool.twin.environment))
    assert pool.run("greet")[1]["type"] == "COMPLETED"


def test_a_job_whose_cluster_lacks_a_role_crashes_the_run(pool: Pool) -> None:
    flows = Principal(pool.twin, pool.settings.azure_flow_identity)
    Vault(pool.settings).set("model-password", PASSWORD)
    flows.lose(SECRETS_OFFICER)
    run, state = pool.run("reveal", {"secret_env": {"MODEL_PASSWORD": "model-password"}})
    assert (state["type"], "exited with status code 1" in state["message"]) == ("CRASHED", True)
    pool.wait_for_log(run, "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'")
    for role in (ACR_PULL, READER):  # A reader may pull, too.
        flows.lose(role)
    _, state = pool.run("greet")
    assert (state["type"], "with `AcrPull` access to the ACR" in state["message"]) == ("CRASHED", True)
    prepare(Subscription(pool.twin.environment))
    assert pool.run("greet")[1]["type"] == "COMPLETED"
