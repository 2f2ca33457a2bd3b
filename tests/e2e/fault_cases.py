"""The faults of Azure during provisioning, a training run and a release: what is struck, and how it must end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.azure_twin.rehearsal.landing_zone import Subscription, identity
from mlops.core.serving import Environment
from tests.e2e.fault_world import IMAGES, MEMORY, OF_PROVISION, End, World
from tests.infra.principals import Principal

Play = Callable[[World], End]
Strike = dict[str, Any]
CONTRIBUTOR = "b24988ac-6180-42a0-ab88-20f7382dd24c"
TRIES = 5
"""How often a task is tried."""


@dataclass(frozen=True)
class Case:
    """One fault in one flow; ``strikes`` are the twin's faults."""

    flow: str
    fault: str
    where: str
    """What is struck and how often, for the table."""
    strikes: tuple[Strike, ...]
    play: Play
    ends: str = "COMPLETED"
    says: str = ""
    """Azure's words in the message of the state in which the run ended."""
    seconds: float = 120.0
    """The run's time limit."""
    away: str = ""
    """Why PROD may be away for a moment; empty: it answers throughout."""
    away_again: str = ""
    """Why it may be away in the next run."""
    leaves: str = ""
    """What the run may leave, until the reaper comes; a prefix."""
    again: Play | None = None
    """The next run, where it is not the same as the first one."""
    quick: bool = False
    """Whether it is played in every test run."""

    @property
    def id(self) -> str:
        return f"{self.flow}: {self.fault}, {self.where}"


def provision(world: World) -> End:
    return world.provision()


def destroy(world: World) -> End:
    """Provision in peace, then destroy."""
    waiting = world.twin.waiting()
    world.twin.control.delete("/twin/faults")
    made = world.provision()
    assert made.type == "COMPLETED", made.message
    for fault in waiting:
        world.twin.fail(**{name: value for name, value in fault.items() if name != "struck"})
    return world.provision(destroy=True)


def destroy_again(world: World) -> End:
    return world.provision(destroy=True)


def train(**job: Any) -> Play:
    return lambda world: world.train(job)


def train_without_nodes(world: World) -> End:
    """A training that needs a new node, and waits 3 s for it."""
    world.wait_for_no_node()
    return world.train({"max_queue_seconds": 3})


def release(world: World) -> End:
    return world.release()


def release_in_a_group(world: World) -> End:
    return world.release_on_worker()


def new_image(world: World) -> End:
    """A release that brings the other image of the scoring service along."""
    world.image = next(each for each in IMAGES if each != world.image)
    return world.release()


def new_memory(world: World) -> End:
    """A release that brings another size of the scoring service along."""
    world.memory = next(each for each in MEMORY if each != world.memory)
    return world.release()


def restarting(environment: Environment, *, move: bool = False) -> Play:
    """A release during whose smoke test in UAT, or trial in PROD, the platform restarts the service."""

    def play(world: World) -> End:
        with world.once_served(environment, lambda: world.restart(world.service(environment), move=move)):
            return world.release()

    return play


def provision_restarted(world: World) -> End:
    """The flow provision in a container group, which the platform restarts once there is a storage account."""

    def restart(run: str) -> None:
        def made() -> bool:
            return any(OF_PROVISION in each["id"] for each in world.twin.resources("storageAccounts"))

        restart_run(world, run, made)

    variables = {
        "ML_RESOURCEGROUP": OF_PROVISION, "ML_WORKSPACE": "mlw-faults", "ML_COMPUTENAME": "faultscompute",
    }  # fmt: skip
    # Flow runs on Azure have no role with which they could make a resource group and what is in it.
    flows = Principal(world.twin, identity(Subscription(world.twin.environment), "flows"))
    flows.grant(CONTRIBUTOR, f"/subscriptions/{world.twin.subscription}")
    try:
        return world.on_worker("provision", "operations", {"env": variables}, restart, model="iris", variables=None)
    finally:
        flows.lose(CONTRIBUTOR)


def release_restarted(world: World) -> End:
    """The flow release in a container group, which the platform restarts once the release has changed UAT."""

    def restart(run: str) -> None:
        def changed() -> bool:
            found = world.serving("uat")
            return found is not None and found.state.release == run

        restart_run(world, run, changed)

    return world.release_on_worker(restart)


def restart_run(world: World, run: str, reached: Callable[[], bool]) -> None:
    """Restart a flow run's own container group when it has come so far."""
    world.wait_until(reached, "what the run does before it is restarted")
    (group,) = world.groups_of(run)
    world.restart(group["id"])


UAT, PROD = "containerGroups/mlops-iris-uat$", "containerGroups/mlops-iris-prod$"
SIGN_IN = r"login\.microsoftonline\.com/.*token"
STORE = r"stmlops\.blob\.core\.windows\.net"
SUBMIT = "snapshotrun$"
DEPLOY = "Microsoft.Resources/deployments/prefect-release"
RUN_GROUP = "containerGroups/release-"
IN_PLACE = "its image changes in place, said beforehand"
ANEW = "its size changes, said beforehand"
MAINTENANCE = "the platform restarts it"


def strike(kind: str, match: str = "", **how: Any) -> tuple[Strike]:
    return ({"kind": kind, "match": match, **how},)


PROVISION = (
    Case("provision", "429", "compute is made, twice",
         strike("throttled", "computes/", method="PUT", times=2), provision),
    Case("provision", "503", "the dataset is registered, twice",
         strike("unavailable", "data/iris", method="PUT", times=2), provision),
    Case("provision", "network cut", "the workspace is read, twice",
         strike("network cut", "workspaces/mlw-faults$", method="GET", times=2), provision),
    Case("provision", "network cut", "the store is read, four times", strike("network cut", STORE, times=4), provision),
    Case("provision", "quota", "compute is made", strike("compute quota"), provision, "FAILED",
         "ClusterCoreQuotaReached"),
    Case("provision", "no capacity", "compute is made", strike("compute fails"), provision, "FAILED",
         "ComputeCreationFailed"),
    Case("provision", "wrong secret", "sign-in", strike("wrong secret", SIGN_IN, times=20), provision, "FAILED",
         "AADSTS7000215"),
    Case("provision", "expired token", "the workspace is read",
         strike("expired token", "workspaces/mlw-faults$", method="GET"), provision),
    Case("provision", "missing role", "the workspace is made",
         strike("forbidden", "workspaces/mlw-faults$", method="PUT"), provision, "FAILED", "AuthorizationFailed"),
    Case("provision", "slow delete", "--destroy, 5 s", strike("slow delete", f"{OF_PROVISION}$", seconds=5), destroy),
    Case("provision", "failing delete", "--destroy", strike("delete fails", f"{OF_PROVISION}$"), destroy, "FAILED",
         "InternalServerError", again=destroy_again, quick=True),
    Case("provision", "restart by the platform", "the flow runs, in its container group, with the role Contributor",
         (), provision_restarted),
)  # fmt: skip

TRAINING = (
    Case("training", "429", "the job is submitted, twice", strike("throttled", SUBMIT, times=2), train()),
    Case("training", "503", "the job is submitted, twice", strike("unavailable", SUBMIT, times=2), train()),
    Case("training", "network cut", "the job is submitted, twice", strike("network cut", SUBMIT, times=2), train()),
    Case("training", "network cut", "the store is used, four times", strike("network cut", STORE, times=4), train()),
    Case("training", "no capacity", "the job waits for a node", strike("no nodes", times=1000),
         train_without_nodes, "CRASHED", "AllocationFailed", again=train(), quick=True),
    Case("training", "image pull", "the job starts", (), train(image="crmlops.azurecr.io/absent:1"), "CRASHED",
         "Failed to pull Docker image", again=train()),
    Case("training", "crash in start", "the job starts", strike("job crash"), train(), "CRASHED",
         "exited with status code 1"),
    Case("training", "no cluster", "the job is submitted", (), train(compute="elsewhere"), "CRASHED",
         "ComputeNotFound", again=train()),
    Case("training", "expired token", "the job is submitted", strike("expired token", SUBMIT), train()),
    Case("training", "slow answer", "the job is submitted, 5 s", strike("slow", SUBMIT, seconds=5), train()),
    Case("training", "restart by the platform", "the flow runs; its node is taken away",
         strike("preempted", seconds=4), train()),
)  # fmt: skip

RELEASE_RUN = (
    *(
        Case("release", name, "the run's group is made, twice", strike(kind, DEPLOY, method="PUT", times=2),
             release_in_a_group)
        for name, kind in (("429", "throttled"), ("503", "unavailable"), ("network cut", "network cut"))
    ),
    Case("release", "no capacity", "the run's group is made", strike("no capacity", RUN_GROUP), release_in_a_group,
         "CRASHED", "is not available in the location 'westeurope' at this moment", quick=True),
    Case("release", "quota", "the run's group is made", strike("quota", RUN_GROUP), release_in_a_group, "CRASHED",
         "container group quota 'StandardCores' exceeded in region 'westeurope'"),
    Case("release", "image pull", "the run's group is made", strike("image pull", RUN_GROUP), release_in_a_group,
         "CRASHED", "is not accessible. Please check the image and registry credential"),
    Case("release", "crash in start", "the run's group starts", strike("crash in start", RUN_GROUP),
         release_in_a_group, "CRASHED", "non-zero status code 1"),
    Case("release", "expired token", "the run's group is made", strike("expired token", DEPLOY, method="PUT"),
         release_in_a_group, "CRASHED", "ExpiredAuthenticationToken"),
    Case("release", "slow delete", "the run's group is deleted, 33 s", strike("slow delete", RUN_GROUP, seconds=33),
         release_in_a_group, seconds=180),
    Case("release", "failing delete", "the run's group is deleted", strike("delete fails", RUN_GROUP, skip=1),
         release_in_a_group, leaves="group release-"),
    Case("release", "restart by the platform", "UAT was changed; of the run's group", (), release_restarted),
)  # fmt: skip

RELEASE_SERVICES = (
    Case("release", "429", "UAT's group is read, twice", strike("throttled", UAT, method="GET", times=2), release),
    Case("release", "503", "PROD's group is read, twice", strike("unavailable", PROD, method="GET", times=2), release),
    Case("release", "network cut", "PROD's group is read, twice",
         strike("network cut", PROD, method="GET", times=2), release),
    Case("release", "network cut", "the store is used, four times", strike("network cut", STORE, times=4), release),
    Case("release", "expired token", "UAT's group is read", strike("expired token", UAT, method="GET"), release),
    Case("release", "wrong secret", "sign-in to read UAT's group, at each try",
         strike("wrong secret", SIGN_IN, times=50), release, "FAILED", "AADSTS7000215"),
    Case("release", "missing role", "UAT's group is read, at each try",
         strike("forbidden", UAT, method="GET", times=TRIES), release, "FAILED", "does not have authorization"),
    Case("release", "no capacity", "UAT's image changes, at each try", strike("no capacity", UAT, times=TRIES),
         new_image, "FAILED", "is not available in the location", again=release, away_again=IN_PLACE),
    Case("release", "image pull", "UAT's image changes, at each try", strike("image pull", UAT, times=TRIES),
         new_image, "FAILED", "is not accessible", again=release, away_again=IN_PLACE),
    Case("release", "crash in start", "UAT's image changes", strike("crash in start", "mlops-iris-uat/scoring"),
         new_image, "FAILED", "is put back and answers again", again=release, away_again=IN_PLACE, quick=True),
    Case("release", "crash in start", "PROD's image changes", strike("crash in start", "mlops-iris-prod/scoring"),
         new_image, "FAILED", "is put back and answers again", away=IN_PLACE, again=release,
         away_again=IN_PLACE),
    Case("release", "IP change", "UAT's and PROD's images change", strike("address change", "mlops-iris", times=2),
         new_image, away=IN_PLACE),
    Case("release", "slow delete", "UAT's size changes, 5 s", strike("slow delete", UAT, seconds=5), new_memory,
         away=ANEW),
    Case("release", "failing delete", "UAT's size changes, at each try", strike("delete fails", UAT, times=TRIES),
         new_memory, "FAILED", "internal server error", again=release, away_again=ANEW),
    Case("release", "restart by the platform", "UAT serves the version", (), restarting("uat")),
    Case("release", "restart by the platform", "PROD tries the version, then at another address", (),
         restarting("prod", move=True), away=MAINTENANCE),
)  # fmt: skip

CASES = (*PROVISION, *TRAINING, *RELEASE_RUN, *RELEASE_SERVICES)
