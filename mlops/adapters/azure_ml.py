"""Azure Machine Learning through azureml-core (SDK v1): the one file that imports it.

What replacing it by SDK v2 (``azure-ai-ml``) would take: ``AzureMl`` keeps its methods, and inside
``Workspace.get`` becomes ``MLClient``; ``AmlCompute.provisioning_configuration`` becomes
``entities.AmlCompute`` with ``begin_create_or_update``; ``ScriptRunConfig`` and ``Experiment.submit``
become ``command(...)`` and ``jobs.create_or_update`` with the same run id as the job's name; logs come
from the run's artifacts as here (v2's ``jobs.stream`` only prints); ``Run.log`` and
``register_model`` become MLflow calls against the workspace's tracking URI and ``models.create_or_update``.
Workspaces and data assets are made through Resource Manager already (``azure_resources``). Nothing
outside this file changes; ``Job.status`` keeps the words of the run history, which v2 shows too.
"""

import os
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops.adapters.azure_ml_errors import AzureMlError, error_texts, translated
from mlops.core.azure_ml import WAITING, Cluster, ClusterSpec, Job, JobSpec, cluster_differs

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azureml.core import Run, Workspace

CREATE_SECONDS = 25 * 60
POLL_SECONDS = (0.5, 1.0, 2.0, 5.0)
LOG_SECONDS = 30
# The SDK retries at three levels and waits 32 s after each 429 unless told otherwise; tasks and the worker retry too.
QUICK = {"DEFAULT_RETRIES": 1, "DEFAULT_BACKOFF": 2, "DEFAULT_503_BACKOFF": 2, "DEFAULT_500_BACKOFF": 1}
# The SDK looks for a Git repository by changing the process's working directory, so two at once would leave it
# in a folder that is deleted.
SUBMITTING = threading.Lock()


class AzureMl:
    """One workspace. Methods raise ``AzureMlError``; its ``transient`` says whether another try may help."""

    def __init__(self, credential: "TokenCredential", subscription: str, resource_group: str, workspace: str) -> None:
        self._credential = credential
        self._names = {"subscription_id": subscription, "resource_group": resource_group, "name": workspace}
        self._opened: Workspace | None = None

    @property
    def workspace(self) -> "Workspace":
        """The SDK's workspace, opened when it is first used."""
        if self._opened is None:
            from azureml.core import Workspace
            from azureml.core.authentication import TokenAuthentication

            _be_quick()
            with _sdk(f"open workspace {self._names['name']}"):
                self._opened = Workspace.get(auth=TokenAuthentication(self._token), **self._names)
        return self._opened

    def _token(self, audience: str) -> str:
        return str(self._credential.get_token(f"{audience.rstrip('/')}/.default").token)

    # Compute

    def compute(self, name: str) -> Cluster | None:
        """A cluster with its nodes; none when there is none."""
        from azureml.core.compute import ComputeTarget
        from azureml.core.compute_target import ComputeTargetException

        workspace = self.workspace
        with _sdk(f"read compute {name}"):
            try:
                return _cluster(ComputeTarget(workspace=workspace, name=name))
            except ComputeTargetException as error:
                if "ComputeTargetNotFound" in str(error):
                    return None
                raise

    def ensure_compute(self, wanted: ClusterSpec) -> Cluster:
        """Create a cluster or bring its scale settings to what is wanted; return it when it is ready.

        Raises:
            AzureMlError: quota, a failed creation, or a size or priority that differs, which cannot be changed.
        """
        from azureml.core.compute import AmlCompute, ComputeTarget

        found = self.compute(wanted.name)
        if found and (difference := cluster_differs(found, wanted)):
            raise AzureMlError(f"compute {wanted.name} exists with {difference}: delete it or choose another name")
        if found and found.state == "Failed":
            self.delete_compute(wanted.name)
        scale = {"min_nodes": wanted.min_nodes, "max_nodes": wanted.max_nodes}
        idle = {"idle_seconds_before_scaledown": wanted.idle_seconds}
        with _sdk(f"create compute {wanted.name}"):
            if found is None or found.state == "Failed":
                identity: dict[str, Any] = {"identity_type": "SystemAssigned"}
                if wanted.identity:
                    identity = {"identity_type": "UserAssigned", "identity_id": [wanted.identity]}
                configuration = AmlCompute.provisioning_configuration(
                    vm_size=wanted.size, vm_priority=wanted.priority, tags=wanted.tags, **scale, **idle, **identity
                )
                ComputeTarget.create(self.workspace, wanted.name, configuration)
            elif (found.min_nodes, found.max_nodes, found.idle_seconds) != (*scale.values(), *idle.values()):
                ComputeTarget(workspace=self.workspace, name=wanted.name).update(**scale, **idle)
        return self._wait_for_compute(wanted.name)

    def _wait_for_compute(self, name: str) -> Cluster:
        deadline = time.monotonic() + CREATE_SECONDS
        for seconds in _growing():
            found = self.compute(name)
            if found is None or found.state == "Failed":
                detail = found.errors if found else "it is gone"
                raise AzureMlError(f"create compute {name}: {detail}", transient=False)
            if found.state == "Succeeded":
                return found
            if time.monotonic() > deadline:
                raise AzureMlError(f"create compute {name}: still {found.state} after {CREATE_SECONDS} s")
            time.sleep(seconds)
        raise AssertionError("the delays never end")

    def delete_compute(self, name: str) -> None:
        """Delete a cluster with its jobs, and wait until it is gone; nothing happens when there is none."""
        from azureml.core.compute import ComputeTarget

        if self.compute(name) is None:
            return
        with _sdk(f"delete compute {name}"):
            ComputeTarget(workspace=self.workspace, name=name).delete()
        deadline = time.monotonic() + CREATE_SECONDS
        for seconds in _growing():
            if self.compute(name) is None:
                return
            if time.monotonic() > deadline:
                raise AzureMlError(f"delete compute {name}: still there after {CREATE_SECONDS} s")
            time.sleep(seconds)

    # Jobs

    def submit(self, spec: JobSpec) -> Job:
        """Submit a job under the id that the spec names; an id is used once, and the second time is an error."""
        from azureml.core import Environment, Experiment, ScriptRunConfig
        from azureml.core.runconfig import RunConfiguration

        environment = Environment("mlops-flows")
        environment.docker.base_image = spec.image
        environment.python.user_managed_dependencies = True
        configuration = RunConfiguration()
        configuration.target = spec.compute
        configuration.environment = environment
        configuration.environment_variables = dict(spec.environment)
        configuration.max_run_duration_seconds = spec.max_seconds
        with SUBMITTING, _sdk(f"submit job {spec.id}"), tempfile.TemporaryDirectory() as folder:
            for name, text in spec.files.items():
                Path(folder, name).write_text(text, "utf-8")
            script = ScriptRunConfig(source_directory=folder, command=list(spec.command), run_config=configuration)
            experiment = Experiment(self.workspace, spec.experiment)
            return _job(experiment.submit(script, tags=dict(spec.tags), run_id=spec.id))

    def job(self, job_id: str) -> Job | None:
        """A job as it is now; none when no job has this id."""
        run = self._run(job_id)
        return _job(run) if run else None

    def jobs(self, tag: str, value: str | None = None) -> list[Job]:
        """Jobs of all experiments that carry a tag (with a value)."""
        from azureml.core import Experiment

        with _sdk(f"list jobs with tag {tag}"):
            wanted = {tag: value} if value else tag
            found = [run for each in Experiment.list(self.workspace) for run in each.get_runs(tags=wanted)]
            return [_job(run) for run in found]

    def tag(self, job_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a job."""
        run = self._run(job_id)
        with _sdk(f"tag job {job_id}"):
            if run:
                run.set_tags(dict(tags))

    def cancel(self, job_id: str) -> None:
        """Ask for a job's end; ``job`` tells when it has ended. Nothing happens to one that has."""
        run = self._run(job_id)
        if run and not _job(run).ended:
            with _sdk(f"cancel job {job_id}"):
                run.cancel()

    def new_log(self, job_id: str, seen: Mapping[str, int]) -> dict[str, bytes]:
        """What a job's user logs say beyond the bytes seen of each; the newest output may come late."""
        import httpx

        run = self._run(job_id)
        if run is None:
            return {}
        new: dict[str, bytes] = {}
        with _sdk(f"read logs of job {job_id}"):
            for name, url in (run.get_details().get("logFiles") or {}).items():
                if not name.startswith("user_logs/"):
                    continue
                answer = httpx.get(url, headers={"Range": f"bytes={seen.get(name, 0)}-"}, timeout=LOG_SECONDS)
                if answer.status_code not in (404, 416):  # It has no byte yet, or no further one.
                    new[name] = answer.raise_for_status().content
        return new

    def _run(self, job_id: str) -> "Run | None":
        from azureml.exceptions import ServiceException

        workspace = self.workspace
        with _sdk(f"read job {job_id}"):
            try:
                return workspace.get_run(job_id)
            except ServiceException as error:
                if error.status_code == 404:
                    return None
                raise

    # Data and models

    def upload(self, files: Mapping[str, bytes], target: str) -> str:
        """Upload files to a folder of the default datastore; return the folder's ``azureml://`` address."""
        with _sdk(f"upload to {target}"), tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, name).write_bytes(data)
            store = self.workspace.get_default_datastore()
            paths = [str(Path(folder, name)) for name in files]
            store.upload_files(paths, relative_root=folder, target_path=target, overwrite=True, show_progress=False)
        return f"azureml://datastores/{store.name}/paths/{target}/"

    def log_run(
        self,
        experiment: str,
        run_id: str,
        metrics: Mapping[str, float],
        confusion: dict[str, Any],
        files: dict[str, bytes],
    ) -> None:
        """Show metrics, a confusion matrix and files on a run; what it shows already is not logged again.

        ``confusion`` has ``class_labels`` and ``matrix`` (rows are true classes). Files land under ``bundle/``.
        """
        from azureml.core import Experiment

        found = self._run(run_id)
        if found and _job(found).ended:
            return
        with _sdk(f"log run {run_id}"), tempfile.TemporaryDirectory() as folder:
            parent = Experiment(self.workspace, experiment)
            run = found or parent.start_logging(run_id=run_id, outputs=None, snapshot_directory=None)
            known, present = run.get_metrics(), run.get_file_names()
            for name, value in metrics.items():
                if name not in known:
                    run.log(name, value)
            if "confusion_matrix" not in known:
                table = {"schema_type": "confusion_matrix", "schema_version": "1.0.0", "data": confusion}
                run.log_confusion_matrix("confusion_matrix", table)
            for name, data in files.items():
                Path(folder, name).write_bytes(data)
                if f"bundle/{name}" not in present:
                    run.upload_file(f"bundle/{name}", str(Path(folder, name)))
            run.complete()

    def register_model(self, name: str, run_id: str, description: str, tags: Mapping[str, str]) -> str:
        """Register the files of a run as the model's next version, once for its tag ``digest``; return the version."""
        from azureml.core import Model

        with _sdk(f"register model {name}"):
            if found := Model.list(self.workspace, name=name, tags=[["digest", tags["digest"]]]):
                return str(found[0].version)
            run = self._run(run_id)
            if run is None:
                raise AzureMlError(f"register model {name}: run {run_id} is not in the workspace")
            return str(run.register_model(name, model_path="bundle", tags=dict(tags), description=description).version)


def _be_quick() -> None:
    """Set the SDK's retries, unless its own variables (``AZUREML_DEFAULT_RETRIES``, …) do.

    Not by these variables, which the SDK reads when it is imported: prefect-azure does that in every Prefect worker.
    """
    from azureml._restclient import clientbase

    for name, value in QUICK.items():
        if f"AZUREML_{name}" not in os.environ:
            setattr(clientbase, name, value)


def _sdk(action: str) -> AbstractContextManager[None]:
    from azureml.exceptions import AzureMLException

    return translated(action, AzureMLException)


def _growing() -> Any:
    yield from POLL_SECONDS
    while True:
        yield POLL_SECONDS[-1]


def _cluster(target: Any) -> Cluster:
    scale, status = target.scale_settings, target.status
    return Cluster(
        name=target.name,
        state=str(target.provisioning_state),
        size=str(target.vm_size),
        priority=str(target.vm_priority).lower(),
        min_nodes=scale.minimum_node_count,
        max_nodes=scale.maximum_node_count,
        idle_seconds=scale.idle_seconds_before_scaledown,
        nodes=(status.current_node_count or 0) if status else 0,
        errors=error_texts(target.provisioning_errors or (status.errors if status else None)),
        tags=target.tags or {},
    )


def _job(run: Any) -> Job:
    status, detail = run.status, ""
    if status in WAITING:
        shown = run.get_detailed_status()
        status, detail = shown["status"], shown["details"] or ""
    if status in ("Failed", "Canceled"):
        detail = (((run.get_details().get("error") or {}).get("error")) or {}).get("message") or ""
    return Job(id=run.id, experiment=run.experiment.name, status=status, detail=detail, tags=dict(run.tags or {}))
