"""What the twin knows of Azure Machine Learning: plain records, kept in memory while it runs."""

import itertools
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ACTIVE = ("NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing", "CancelRequested")
ENDED = ("Completed", "Failed", "Canceled")
PROVIDER = "Microsoft.MachineLearningServices"


def now() -> str:
    """The time as Azure writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def guid() -> str:
    """A new random id."""
    return str(uuid.uuid4())


@dataclass
class Run:
    """A run of an experiment; a job when it was submitted to a cluster."""

    run_id: str
    experiment: str
    number: int
    status: str = "NotStarted"
    target: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    definition: dict[str, Any] = field(default_factory=dict)
    """The run configuration as it was submitted."""
    snapshot: str = ""
    name: str = ""
    description: str = ""
    run_type: str = "azureml.scriptrun"
    created: str = field(default_factory=now)
    started: str | None = None
    ended: str | None = None
    error: dict[str, Any] | None = None
    queueing: str = ""
    preemptions: int = 0
    metrics: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    """Path to the blob that holds it."""


@dataclass
class Cluster:
    """An AmlCompute cluster and its nodes; a node is allocated, runs a job or idles."""

    name: str
    body: dict[str, Any]
    """The resource as it was put."""
    state: str = "Creating"
    created: str = field(default_factory=now)
    modified: str = field(default_factory=now)
    errors: list[dict[str, Any]] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    """Since when (monotonic) each idle node has had no job."""
    preparing: int = 0
    running: int = 0
    preempted: int = 0

    @property
    def properties(self) -> dict[str, Any]:
        """Size, priority and scale settings."""
        found: dict[str, Any] = self.body["properties"]["properties"]
        return found

    @property
    def nodes(self) -> int:
        """Nodes that are there, or nearly."""
        return len(self.idle) + self.preparing + self.running


@dataclass
class Workspace:
    """A workspace with all that belongs to it; removing it removes that."""

    scope: str
    """Its resource id."""
    body: dict[str, Any]
    guid: str = field(default_factory=guid)
    account: str = ""
    """The storage account behind its default datastore."""
    clusters: dict[str, Cluster] = field(default_factory=dict)
    experiments: dict[str, str] = field(default_factory=dict)
    """Name to id."""
    runs: dict[str, Run] = field(default_factory=dict)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    """Snapshot to files, each with the blob that holds it."""
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def name(self) -> str:
        """Its name."""
        return self.scope.rpartition("/")[2]

    @property
    def location(self) -> str:
        """Its region."""
        return str(self.body["location"])

    def experiment(self, name: str) -> str:
        """The id of an experiment, made when it is new."""
        return self.experiments.setdefault(name, guid())

    def experiment_name(self, experiment_id: str) -> str:
        """The name of an experiment; empty when there is none."""
        return next((name for name, known in self.experiments.items() if known == experiment_id), "")

    def jobs_on(self, cluster: str) -> list[Run]:
        """Active runs on a cluster, oldest first."""
        return [run for run in self.runs.values() if run.target == cluster and run.status in ACTIVE]
