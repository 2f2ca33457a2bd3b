"""Tasks that show a released version in the Azure Machine Learning workspace; the workspace is a view, never asked."""

from typing import Any

import msgspec
from prefect.artifacts import create_table_artifact

from mlops.adapters import bundles
from mlops.adapters.registry import CHAMPION, Version
from mlops.core.evaluation import Metrics
from tasks.azure import open_workspace, refusing
from tasks.context import current_flow_run, open_model, pick_version
from tasks.network import network_task

LONG_SECONDS = 600


@network_task("version to mirror")
def version_to_mirror(model: str, version: str | None) -> Version:
    """The version that is named, else the champion."""
    missing = f"{model} has no champion: release a version, or name one"
    return pick_version(open_model(model), version, CHAMPION, missing)


@network_task("experiment run", timeout=LONG_SECONDS)
def show_run(model: str, version: Version) -> str:
    """Metrics, confusion matrix and the bundle's files on a run of the model's experiment; return its id."""
    context = open_model(model)
    files = bundles.load(context.store, model, version.digest)
    metrics = msgspec.json.decode(files["metrics.json"], type=Metrics)
    confusion = {
        "class_labels": list(context.spec.data.target.classes),
        "matrix": [list(row) for row in metrics.confusion],
    }
    run_id = f"{model}-{version.version}-{version.digest[:8]}"
    with refusing():
        open_workspace(context.settings).log_run(model, run_id, metrics.scalars, confusion, files)
    return run_id


@network_task("register in the workspace", timeout=LONG_SECONDS)
def register_in_workspace(model: str, version: Version, run_id: str) -> str:
    """The version as a model of the workspace, with description and tags; return the workspace's version of it."""
    tags = {"digest": version.digest, "snapshot": version.snapshot, "version": version.version, "stage": "released"}
    description = f"Version {version.version} of {model}, released after validation and approval."
    with refusing():
        return open_workspace(open_model(model).settings).register_model(model, run_id, description, tags)


@network_task("show mirror")
def show_mirror(model: str, version: Version, run_id: str, registered: str) -> None:
    """What was mirrored where, as a table in the UI."""
    settings = open_model(model).settings
    facts: dict[str, Any] = {
        "workspace": settings.azure_workspace,
        "experiment": model,
        "run": run_id,
        "model": f"{model}:{registered}",
        "version": version.version,
        "digest": version.digest,
        "snapshot": version.snapshot,
        "flow run": current_flow_run(),
    }
    rows = [{"what": name, "value": value} for name, value in facts.items()]
    create_table_artifact(key=f"{model}-mirror", table=rows, description=f"{model} version {version.version}")
