"""A released version is shown in the Azure Machine Learning workspace, where one is configured."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.cli import run
from tasks.context import open_model
from tasks.mirror import register_in_workspace, show_mirror, show_run, version_to_mirror


@flow(name="mirror", flow_run_name="mirror {model}", log_prints=True)
def mirror(model: str, version: str | None = None) -> Any:
    """Show a version in the workspace: run with metrics and confusion matrix, model, artifact. Once, however often run.

    Args:
        model: the name of a spec in deployments/models.
        version: the version; the champion unless given.
    """
    if not open_model(model).settings.azure_workspace:
        return Completed(message="no Azure Machine Learning workspace is configured (azure_workspace)")
    found = version_to_mirror(model, version)
    run_id = show_run(model, found)
    registered = register_in_workspace(model, found, run_id)
    show_mirror(model, found, run_id, registered)
    return Completed(message=f"version {found.version} is {model}:{registered} in the workspace")


if __name__ == "__main__":
    run(mirror)
