"""Landing files and late labels become a new snapshot; bad rows go to quarantine."""

from prefect import flow, unmapped

from flows.cli import run
from tasks.events import SNAPSHOT_CREATED, emit
from tasks.ingest import curate_file, join_labels, list_landing, publish_snapshot


@flow(name="ingestion", flow_run_name="ingest {model}", log_prints=True)
def ingestion(model: str) -> str | None:
    """Ingest what is new and return the id of the newest snapshot.

    Args:
        model: the name of a spec in deployments/models.
    """
    files = list_landing(model)
    curated = curate_file.map(unmapped(model), files).result()
    if labelled := join_labels(model):
        curated.append(labelled)
    snapshot, new = publish_snapshot(model, curated)
    if new:
        emit(SNAPSHOT_CREATED, model, snapshot=snapshot)
    return snapshot


if __name__ == "__main__":
    run(ingestion)
