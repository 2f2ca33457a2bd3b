"""What a work pool of the type ``azure-ml`` lets one set, and how a flow run becomes a job."""

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorkerResult
from pydantic import Field

from mlops.core.azure_ml import JobSpec

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

FLOW_RUN_TAG = "prefect-flow-run"
POOL_TAG = "prefect-work-pool"
SECRETS = "PREFECT_AZURE_ML_SECRETS"
VAULT = "PREFECT_AZURE_ML_KEY_VAULT"
ENTRY = "job_entry.py"
SECRET_NAME = re.compile(r"AUTH_STRING|API_KEY|PASSWORD|SECRET|TOKEN|CONNECTION_(STRING|URL)|_KEY$|CUSTOM_HEADERS")
# Paths, and this system's settings: those are never secrets, though some name one.
NO_SECRET_NAME = re.compile(r"^MLOPS_|_(DIR|FILE|PATH)$")
# Folders of the machine that the worker is on.
OF_THE_WORKER = ("PREFECT_HOME", "PREFECT_PROFILES_PATH", "PREFECT_LOCAL_STORAGE_PATH", "PREFECT_MEMO_STORE_PATH")
CREDENTIALS_IN_URL = re.compile(r"://[^/@\s]+:[^/@\s]+@")


class AzureMlVariables(BaseVariables):
    """The variables of the base job template."""

    subscription_id: str = Field(description="The Azure subscription.", title="Subscription")
    resource_group: str = Field(description="The resource group of the workspace.")
    workspace: str = Field(description="The Azure Machine Learning workspace.")
    compute: str = Field(description="The AmlCompute cluster that runs the job; without idle nodes it is free.")
    image: str = Field(description="The container image with Python, Prefect and the flow's code.")
    experiment: str | None = Field(default=None, description="The jobs' experiment; the flow's name unless given.")
    key_vault: str = Field(
        default="",
        description="https://NAME.vault.azure.net: here the job reads its secrets, by the compute's identity.",
    )
    secret_env: dict[str, str] = Field(
        default_factory=dict,
        title="Secret environment variables",
        description="Variables of the flow run whose values are secrets in the Key Vault: variable to secret's name.",
    )
    max_run_seconds: int | None = Field(default=None, ge=1, description="Azure ends a job that runs longer.")
    max_queue_seconds: int = Field(default=1800, ge=1, description="A job that waits longer for a node is given up.")
    max_preemptions: int = Field(
        default=3, ge=0, description="How often a run starts anew whose low-priority node was taken away."
    )
    poll_seconds: float = Field(default=5.0, gt=0, description="Seconds between two looks at a job.")


class AzureMlJobConfiguration(BaseJobConfiguration):
    """One flow run's job; fields as in ``AzureMlVariables``."""

    subscription_id: str
    resource_group: str
    workspace: str
    compute: str
    image: str
    experiment: str | None = None
    key_vault: str = ""
    secret_env: dict[str, str] = Field(default_factory=dict)
    max_run_seconds: int | None = None
    max_queue_seconds: int = 1800
    max_preemptions: int = 3
    poll_seconds: float = 5.0

    def prepare_for_flow_run(self, flow_run: "FlowRun", *args: Any, **kwargs: Any) -> None:
        """Add what Prefect adds, except for secrets: a job's definition is read by all who read the workspace.

        Raises:
            ValueError: a job variable holds a secret, or secrets are named without a vault.
        """
        for name, value in self.env.items():
            if value and is_secret(name, value):
                raise ValueError(
                    f"env.{name} of the job variables would be written into the job's definition: store it in the "
                    f"Key Vault and name it in secret_env"
                )
        if self.secret_env and not self.key_vault:
            raise ValueError("secret_env names secrets, and key_vault names no vault")
        super().prepare_for_flow_run(flow_run, *args, **kwargs)
        inherited = {name: value for name, value in self.env.items() if value and not is_secret(name, value)}
        self.env = {name: value for name, value in inherited.items() if name not in OF_THE_WORKER}
        flow = self._related_objects.get("flow")
        self.experiment = self.experiment or (flow.name if flow else "flows")

    def job(self, job_id: str, flow_run_id: str, pool: str) -> JobSpec:
        """The job of a flow run."""
        command = self.command or self._base_flow_run_command()
        environment = {name: value for name, value in self.env.items() if value is not None}
        if self.secret_env:
            environment |= {VAULT: self.key_vault, SECRETS: json.dumps(self.secret_env)}
        return JobSpec(
            id=job_id,
            experiment=self.experiment or "flows",
            compute=self.compute,
            image=self.image,
            command=("python", ENTRY, *shlex.split(command)),
            environment=environment,
            files={ENTRY: Path(__file__).with_name(ENTRY).read_text("utf-8")},
            tags={FLOW_RUN_TAG: flow_run_id, POOL_TAG: pool},
            max_seconds=self.max_run_seconds,
        )

    @staticmethod
    def _base_flow_run_command() -> str:
        # Without a runner, which costs seconds: the worker sees to cancellation.
        return "python -m prefect.engine"


class AzureMlResult(BaseWorkerResult):
    """How a job ended; 0 also where the worker has told Prefect already why it did not end well."""


def is_secret(name: str, value: str) -> bool:
    """Whether a variable must not be seen: by its name, or since an address carries credentials."""
    named = SECRET_NAME.search(name) and not NO_SECRET_NAME.search(name)
    return bool(named or CREDENTIALS_IN_URL.search(value)) and name not in (SECRETS, VAULT)


def job_id(flow_run_id: str, attempt: int) -> str:
    """The id of a flow run's job: the same for every worker, so no job is started twice."""
    return f"flow-run-{flow_run_id}-{attempt}"
