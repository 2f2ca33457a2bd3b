"""Plain records of Azure Machine Learning: clusters and jobs, and what their states mean."""

import msgspec

ENDED = ("Completed", "Failed", "Canceled")
WAITING = ("NotStarted", "Starting", "Provisioning", "Preparing", "Queued")


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A compute cluster as it is wanted."""

    name: str
    size: str
    priority: str = "dedicated"
    """``dedicated``, or ``lowpriority``: cheaper, and pre-empted when Azure needs the machine."""
    min_nodes: int = 0
    max_nodes: int = 1
    idle_seconds: int = 300
    """How long a node without a job stays."""
    identity: str = ""
    """Resource id of a user-assigned identity; empty: the cluster has its own."""
    tags: dict[str, str] = {}


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """A compute cluster as it is; ``state`` is Creating, Succeeded, Updating, Failed or Deleting."""

    name: str
    state: str
    size: str
    priority: str
    min_nodes: int
    max_nodes: int
    idle_seconds: int
    nodes: int = 0
    errors: str = ""
    tags: dict[str, str] = {}


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job to submit: a command in an image on a cluster, beside a few small files."""

    id: str
    experiment: str
    compute: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    """Variables; everyone who may read the workspace reads them, so no secrets."""
    files: dict[str, str] = {}
    """Name to text, in the folder where the command starts."""
    tags: dict[str, str] = {}
    max_seconds: int | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is; ``status`` in the words of the run history."""

    id: str
    experiment: str = ""
    status: str
    detail: str = ""
    """Why it waits or failed, as Azure says it."""
    tags: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ENDED

    @property
    def waiting(self) -> bool:
        """Whether it has no node yet, or none any more."""
        return self.status in WAITING


def preempted(before: Job | None, now: Job) -> bool:
    """Whether a job that ran waits again: its low-priority node was taken away."""
    return before is not None and before.status == "Running" and now.waiting


def cluster_differs(found: Cluster, wanted: ClusterSpec) -> str:
    """What of a cluster differs that cannot be changed; empty when nothing does."""
    if found.size.upper() != wanted.size.upper():
        return f"size {found.size} instead of {wanted.size}"
    if found.priority.replace("_", "").lower() != wanted.priority.lower():
        return f"priority {found.priority} instead of {wanted.priority}"
    return ""
