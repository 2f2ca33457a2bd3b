"""The errors of Azure Machine Learning that the twin answers, each with its source."""

from typing import Any

from infra.azure_twin.errors import ARM_ERRORS, LEARN, AzureError, Documented

QUOTA = f"{LEARN}/machine-learning/how-to-manage-quotas"
CLUSTERS = f"{LEARN}/machine-learning/how-to-create-attach-compute-cluster"

DOCUMENTED: dict[str, Documented] = {
    "workspace name taken": Documented(
        400,
        "BadRequest",
        "Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete",
        f"{LEARN}/machine-learning/concept-soft-delete",
    ),
    "compute name": Documented(
        400,
        "InvalidComputeName",
        "Compute name {name} is invalid. It can include letters, digits and dashes. It must start with a letter, end "
        "with a letter or digit, and be between 2 and 32 characters in length.",
        CLUSTERS,
    ),
    "vm size": Documented(
        400,
        "InvalidVmSize",
        "The specified Azure ML Compute VM size {size} is not supported in location {location}.",
        f"{LEARN}/machine-learning/concept-compute-target",
    ),
    "compute immutable": Documented(
        400,
        "InvalidComputeUpdate",
        "The property {property} of compute {name} cannot be changed after creation. Delete and create it again.",
        CLUSTERS,
    ),
    "compute quota": Documented(
        409,
        "ClusterCoreQuotaReached",
        "Operation results in exceeding quota limits of {family} cores in {location}. Read more about quota limits "
        "at https://aka.ms/amlquota.",
        QUOTA,
    ),
    "compute fails": Documented(
        409,
        "ComputeCreationFailed",
        "Creation of compute {name} failed: the cluster could not be created in the requested region.",
        f"{LEARN}/machine-learning/how-to-troubleshoot-managed-network",
    ),
    "no nodes": Documented(
        409,
        "AllocationFailed",
        "Allocation of compute {name} failed: there is not enough capacity for {size} in {location} at this moment. "
        "Retry later, or try another size or region.",
        ARM_ERRORS,
    ),
    "data asset": Documented(
        400, "UserError", "Data asset {name} needs a dataType and a dataUri.", f"{LEARN}/machine-learning/concept-data"
    ),
    "data immutable": Documented(
        400,
        "UserError",
        "A data version with this name and version already exists: {name}:{version}. Data versions are immutable.",
        f"{LEARN}/machine-learning/how-to-create-data-assets",
    ),
    "run exists": Documented(
        409, "Conflict", "A run with id {run} already exists in this workspace.", f"{LEARN}/machine-learning/"
    ),
    "no run": Documented(
        404, "NotFound", "RunId {run} not found.", f"{LEARN}/machine-learning/how-to-track-monitor-analyze-runs"
    ),
    "no compute": Documented(
        400, "ComputeNotFound", "Target {name} not found in workspace.", f"{LEARN}/machine-learning/"
    ),
    "no snapshot": Documented(404, "SnapshotNotFound", "Snapshot {snapshot} not found.", f"{LEARN}/machine-learning/"),
}


def failure(kind: str, /, **values: object) -> AzureError:
    """Make the error of a kind in ``DOCUMENTED``."""
    known = DOCUMENTED[kind]
    return AzureError(known.status, known.code, known.message.format(**values), dict(known.headers))


def user_error(code: str, message: str) -> dict[str, Any]:
    """An error as a run's details carry it."""
    return {"error": {"code": "UserError", "message": message, "details": [{"code": code, "message": message}]}}
