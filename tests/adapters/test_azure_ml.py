"""Azure Machine Learning against the twin: the SDK is the real one."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlops.adapters.azure_auth import credential
from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.azure_ml_errors import AzureMlError
from mlops.core.azure_ml import Cluster, ClusterSpec, Job, JobSpec
from mlops.settings import load
from tests.infra.twin import RunningTwin
from tests.infra.workspace import make_workspace

COMPUTE = ClusterSpec(name="iriscompute", size="STANDARD_DS2_V2", max_nodes=1, idle_seconds=1)


@pytest.fixture
def azure_ml(azure_twin: RunningTwin) -> AzureMl:
    make_workspace(azure_twin)
    return AzureMl(credential(load()), azure_twin.subscription, "rg-mlops", "mlw")


def spec(code: str, name: str = "job-1", **more: object) -> JobSpec:
    return JobSpec(
        id=name,
        experiment="iris",
        compute="iriscompute",
        image="python:3.11",
        command=("python", "job.py"),
        files={"job.py": code},
        **more,  # type: ignore[arg-type]
    )


def wait(ml: AzureMl, job: str, done: Callable[[Job], bool] = lambda job: job.ended, seconds: float = 30) -> Job:
    deadline = time.monotonic() + seconds
    while not (found := ml.job(job)) or not done(found):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def scaled_to(ml: AzureMl, nodes: int, seconds: float = 20) -> Cluster:
    deadline = time.monotonic() + seconds
    while (found := ml.compute("iriscompute")) is None or found.nodes != nodes:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_the_sdk_tries_again_soon_whoever_imported_it_first(azure_ml: AzureMl) -> None:
    """Otherwise two answers 429 would hold a job back for 96 s."""
    from azureml._restclient import clientbase

    assert azure_ml.workspace
    assert (clientbase.DEFAULT_BACKOFF, clientbase.DEFAULT_RETRIES) == (2, 1)


def test_a_cluster_is_made_once_and_changed_where_it_may_be(azure_ml: AzureMl) -> None:
    assert azure_ml.compute("iriscompute") is None
    made = azure_ml.ensure_compute(COMPUTE)
    assert (made.state, made.nodes, made.min_nodes, made.max_nodes, made.idle_seconds) == ("Succeeded", 0, 0, 1, 1)
    wider = azure_ml.ensure_compute(ClusterSpec(name="iriscompute", size="standard_ds2_v2", max_nodes=3))
    assert (wider.max_nodes, wider.idle_seconds) == (3, 300)
    with pytest.raises(AzureMlError, match="size STANDARD_DS2_V2 instead of STANDARD_DS3_V2: delete it"):
        azure_ml.ensure_compute(ClusterSpec(name="iriscompute", size="STANDARD_DS3_V2"))
    azure_ml.delete_compute("iriscompute")
    assert azure_ml.compute("iriscompute") is None
    azure_ml.delete_compute("iriscompute")


def test_quota_and_failed_creation_carry_azures_words(azure_ml: AzureMl, azure_twin: RunningTwin) -> None:
    azure_twin.fail("compute quota")
    with pytest.raises(AzureMlError, match="create compute iriscompute: ClusterCoreQuotaReached: Operation") as quota:
        azure_ml.ensure_compute(COMPUTE)
    assert not quota.value.transient
    azure_twin.fail("compute fails")
    with pytest.raises(AzureMlError, match="ComputeCreationFailed"):
        azure_ml.ensure_compute(COMPUTE)
    assert azure_ml.ensure_compute(COMPUTE).state == "Succeeded"


def test_a_job_runs_says_what_it_prints_and_leaves_no_node(azure_ml: AzureMl) -> None:
    azure_ml.ensure_compute(COMPUTE)
    code = "import os\nprint('answer', os.environ['QUESTION'])"
    assert azure_ml.submit(spec(code, environment={"QUESTION": "42"}, tags={"flow-run": "1"})).id == "job-1"
    assert wait(azure_ml, "job-1").status == "Completed"
    assert azure_ml.new_log("job-1", {}) == {"user_logs/std_log.txt": b"answer 42\n"}
    assert azure_ml.new_log("job-1", {"user_logs/std_log.txt": 7}) == {"user_logs/std_log.txt": b"42\n"}
    assert azure_ml.new_log("job-1", {"user_logs/std_log.txt": 10}) == {}
    azure_ml.submit(spec("print()", "job-2", tags={"flow-run": "2"}))
    azure_ml.submit(spec("print()", "job-3"))
    assert [job.id for job in azure_ml.jobs("flow-run", "1")] == ["job-1"]
    assert [job.id for job in azure_ml.jobs("flow-run")] == ["job-2", "job-1"]
    wait(azure_ml, "job-3")
    scaled_to(azure_ml, 0)


def test_a_job_id_is_used_once(azure_ml: AzureMl) -> None:
    azure_ml.ensure_compute(COMPUTE)
    azure_ml.submit(spec("print()"))
    with pytest.raises(AzureMlError, match=r"submit job job-1: .*already exists"):
        azure_ml.submit(spec("print()"))
    assert azure_ml.job("job-2") is None


def test_submitting_from_many_threads_leaves_the_working_directory(
    azure_ml: AzureMl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    azure_ml.ensure_compute(COMPUTE)
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: azure_ml.submit(spec("print()", f"job-{number}")), range(16)))
    assert Path.cwd() == tmp_path


def test_failing_cancelled_and_overlong_jobs(azure_ml: AzureMl) -> None:
    azure_ml.ensure_compute(ClusterSpec(name="iriscompute", size="STANDARD_DS2_V2", max_nodes=3, idle_seconds=1))
    azure_ml.submit(spec("raise SystemExit(3)", "fails"))
    azure_ml.submit(spec("import time; time.sleep(60)", "cancelled"))
    azure_ml.submit(spec("import time; time.sleep(60)", "overlong", max_seconds=1))
    failed = wait(azure_ml, "fails")
    assert (failed.status, "status code 3" in failed.detail) == ("Failed", True)
    wait(azure_ml, "cancelled", lambda job: job.status == "Running")
    azure_ml.cancel("cancelled")
    assert wait(azure_ml, "cancelled").status == "Canceled"
    overlong = wait(azure_ml, "overlong")
    assert (overlong.status, "maximum run duration of 1" in overlong.detail) == ("Canceled", True)


def test_no_node_is_said_and_a_preempted_job_waits_again(azure_ml: AzureMl, azure_twin: RunningTwin) -> None:
    azure_ml.ensure_compute(COMPUTE)
    azure_twin.fail("no nodes", times=60)  # Asked ten times a second; each state lasts for several of our questions.
    azure_twin.fail("preempted", seconds=4)
    azure_ml.submit(spec("import time; time.sleep(6)"))
    assert "AllocationFailed" in wait(azure_ml, "job-1", lambda job: bool(job.detail)).detail
    wait(azure_ml, "job-1", lambda job: job.status == "Running")
    assert wait(azure_ml, "job-1", lambda job: job.waiting).detail.startswith("The node was preempted")
    assert wait(azure_ml, "job-1").status == "Completed"


@pytest.mark.parametrize("kind", ["network cut", "throttled", "unavailable"])
def test_one_that_does_not_answer_is_asked_again(azure_ml: AzureMl, azure_twin: RunningTwin, kind: str) -> None:
    azure_twin.fail(kind, match="azureml.ms/history")
    assert azure_ml.job("none") is None
    assert not azure_twin.control.get("/twin/faults").json()["waiting"]


def test_a_release_is_shown_once(azure_ml: AzureMl, azure_twin: RunningTwin) -> None:
    confusion = {"class_labels": ["0", "1"], "matrix": [[5, 0], [1, 4]]}
    for _ in range(2):
        azure_ml.log_run("iris", "iris-1", {"accuracy": 0.9}, confusion, {"card.md": b"# iris", "model.onnx": b"x"})
        version = azure_ml.register_model("iris", "iris-1", "The champion.", {"digest": "abc", "champion": "1"})
        assert version == "1"
    run = azure_ml.workspace.get_run("iris-1")
    assert run.get_metrics()["accuracy"] == 0.9
    assert set(run.get_file_names()) == {"bundle/card.md", "bundle/model.onnx", "confusion_matrix"}
    assert len(azure_twin.exchanges("POST", "/models")) == 1


def test_data_is_uploaded_to_the_default_datastore(azure_ml: AzureMl, azure_twin: RunningTwin) -> None:
    address = azure_ml.upload({"part-0.parquet": b"rows", "manifest.json": b"{}"}, "iris/snapshots/abc")
    assert address == "azureml://datastores/workspaceblobstore/paths/iris/snapshots/abc/"
    assert azure_twin.exchanges("PUT", "iris/snapshots/abc/part-0.parquet")[0]["request"] == "rows"


def test_tags_come_later_too(azure_ml: AzureMl) -> None:
    azure_ml.ensure_compute(COMPUTE)
    azure_ml.submit(spec("print()"))
    azure_ml.tag("job-1", {"flow-run": "7"})
    assert [job.id for job in azure_ml.jobs("flow-run", "7")] == ["job-1"]
