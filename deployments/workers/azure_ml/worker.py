"""The Prefect worker that runs flow runs as jobs of Azure Machine Learning."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.abc
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import StateType
from prefect.exceptions import InfrastructureNotAvailable, InfrastructureNotFound
from prefect.states import Scheduled
from prefect.workers.base import BaseWorker

from deployments.workers.azure_ml.configuration import AzureMlJobConfiguration, AzureMlResult, AzureMlVariables
from deployments.workers.azure_ml.jobs import Jobs
from deployments.workers.azure_ml.watch import Watch
from mlops import settings as settings_module
from mlops.adapters.azure_auth import credential
from mlops.adapters.azure_ml import AzureMl
from mlops.adapters.azure_ml_errors import AzureMlError
from mlops.core.azure_ml import Job

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

LIVING = ("PENDING", "RUNNING", "CANCELLING")


class AzureMlWorker(BaseWorker[AzureMlJobConfiguration, AzureMlVariables, AzureMlResult]):
    """Submits, watches, cancels; after a restart it goes on with the jobs that it finds."""

    type = "azure-ml"
    job_configuration = AzureMlJobConfiguration
    job_configuration_variables = AzureMlVariables
    _description = (
        "Execute flow runs as jobs on an Azure Machine Learning compute cluster that scales to zero. "
        "Requires a workspace, a cluster and an image."
    )
    _display_name = "Azure Machine Learning"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched: set[UUID] = set()
        self._workspaces: dict[tuple[str, str, str], Jobs] = {}

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: AzureMlJobConfiguration,
        task_status: anyio.abc.TaskStatus[str] | None = None,  # type: ignore[override]  # Prefect takes any identifier.
    ) -> AzureMlResult:
        """Run a flow run as a job; an error before the job exists is a crash with Azure's message."""
        self._watched.add(flow_run.id)
        try:
            jobs = self._jobs(configuration)
            attempt, job = await jobs.start(configuration, str(flow_run.id), self._work_pool_name)
            pid = self._pid(configuration, job)
            if task_status:
                task_status.started(pid)
            code = await self._watch(flow_run, configuration, attempt, job).follow()
            return AzureMlResult(identifier=pid, status_code=code)
        finally:
            self._watched.discard(flow_run.id)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: AzureMlJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """Cancel the job of a flow run.

        Raises:
            InfrastructureNotFound: there is no such job.
            InfrastructureNotAvailable: Azure refuses, or the job does not end within the grace.
        """
        job_id = infrastructure_pid.rpartition("/")[2]
        jobs = self._jobs(configuration)
        try:
            await jobs.ask(lambda ml: ml.cancel(job_id))
            with anyio.fail_after(grace_seconds):
                while found := await jobs.ask(lambda ml: ml.job(job_id)):
                    if found.ended:
                        return
                    await anyio.sleep(min(configuration.poll_seconds, 2.0))
        except TimeoutError:
            raise InfrastructureNotAvailable(f"job {job_id} was told to end and did not in {grace_seconds} s") from None
        except AzureMlError as error:
            raise InfrastructureNotAvailable(str(error)) from error
        raise InfrastructureNotFound(f"there is no job {job_id}")

    async def sync_with_backend(self) -> None:
        """Sync as every worker does, and take over flow runs whose worker is gone."""
        await super().sync_with_backend()
        if self._work_pool and self._runs_task_group:
            self._runs_task_group.start_soon(self._adopt)

    async def _adopt(self) -> None:
        wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": [StateType[name] for name in LIVING]}}})
        pool = WorkPoolFilter.model_validate({"name": {"any_": [self._work_pool_name]}})
        found = await self.client.read_flow_runs(flow_run_filter=wanted, work_pool_filter=pool)
        lost = [run for run in found if run.id not in self._watched | self._submitting_flow_run_ids]
        if not lost:
            return
        alive = await self._other_workers()
        for run in lost:
            # Without a worker's name it was submitted this moment: the name follows.
            if (owner := run.labels.get("prefect.worker.name")) and owner not in alive:
                self._watched.add(run.id)
                assert self._runs_task_group is not None  # noqa: S101 - the caller saw it
                self._runs_task_group.start_soon(self._take_over, run)

    async def _other_workers(self) -> set[str]:
        known = await self.client.read_workers_for_work_pool(self._work_pool_name)
        return {each.name for each in known if each.status == "ONLINE" and each.name != self.name}

    async def _take_over(self, flow_run: "FlowRun") -> None:
        """Watch the job of a flow run that another worker, or an earlier life of this one, submitted."""
        logger = self.get_flow_run_logger(flow_run)
        try:
            configuration = await self.job_configuration.resolve_for_flow_run(
                flow_run,
                client=self.client,
                work_pool=self.work_pool,
                worker_name=self.name,
                worker_id=self.backend_id,
            )
            attempt, job = await self._jobs(configuration).newest(str(flow_run.id))
            if job is None:
                logger.warning("Its worker died before it submitted a job; the flow run is scheduled again")
                await self.client.set_flow_run_state(flow_run.id, Scheduled(), force=True)
                return
            await self._give_worker_labels_to_flow_run(flow_run.id)
            logger.info("Worker %r goes on with job %s, which is %s", self.name, job.id, job.status)
            await self._watch(flow_run, configuration, attempt, job).follow()
        except Exception:  # One flow run that cannot be taken over must not end the worker.
            logger.exception("The job of this flow run cannot be watched; tried again at the next sync")
        finally:
            self._watched.discard(flow_run.id)

    def _watch(self, flow_run: "FlowRun", configuration: AzureMlJobConfiguration, attempt: int, job: Job) -> Watch:
        return Watch(
            jobs=self._jobs(configuration),
            client=self.client,
            flow_run=flow_run,
            configuration=configuration,
            job=job,
            attempt=attempt,
            logger=self.get_flow_run_logger(flow_run),
        )

    def _jobs(self, configuration: AzureMlJobConfiguration) -> Jobs:
        place = (configuration.subscription_id, configuration.resource_group, configuration.workspace)
        if place not in self._workspaces:
            self._workspaces[place] = Jobs(lambda: AzureMl(credential(settings_module.load()), *place))
        return self._workspaces[place]

    @staticmethod
    def _pid(configuration: AzureMlJobConfiguration, job: Job) -> str:
        """What Prefect keeps as the infrastructure's id: where the job is."""
        return "/".join((configuration.subscription_id, configuration.resource_group, configuration.workspace, job.id))
