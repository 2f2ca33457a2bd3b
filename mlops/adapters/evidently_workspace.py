"""Evidently's workspace: a project for each model whose dashboard has its panels, and a run for each window.

A folder that Evidently's own UI serves. Projects and runs have ids made from their names, so what is
published again replaces itself; files appear whole, by rename, so the UI never reads half of one.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from mlops.adapters.evidently_report import quiet
from mlops.core.schema import Schema

NAMESPACE = UUID("6e1c4b42-6a0a-5d0c-9a5e-6f2f4b1f7c11")
COLUMNS_SHOWN = 20
"""Most columns whose drift is drawn; more lines cannot be told apart."""


def project_id(model: str) -> UUID:
    """The id of a model's project."""
    return uuid5(NAMESPACE, model)


def run_id(model: str, name: str) -> UUID:
    """The id of a model's run."""
    return uuid5(project_id(model), name)


def publish(folder: Path, model: str, schema: Schema, name: str, run: Any) -> UUID:
    """Add a report to its model's project, which is made if it is new; return the run's id.

    Args:
        folder: the workspace.
        model: names the project.
        schema: its columns have their line in the dashboard.
        name: of the run; one of that name is replaced.
        run: as ``evidently_report.EvidentlyReport.run``.
    """
    with quiet():
        from evidently.legacy.utils import NumpyEncoder

        ensure_project(folder, model, schema)
        content = json.dumps(run.to_snapshot_model().dict(), cls=NumpyEncoder)
    _write(folder / str(project_id(model)) / "snapshots" / f"{run_id(model, name)}.json", content)
    return run_id(model, name)


def ensure_project(folder: Path, model: str, schema: Schema) -> None:
    """Make a model's project with its panels unless there is one: what a person changed there stays."""
    home = folder / str(project_id(model))
    if (home / "metadata.json").is_file():
        return
    with quiet():
        from evidently.legacy.utils import NumpyEncoder
        from evidently.sdk.models import DashboardModel, DashboardTabModel, ProjectModel

        panels = list(_panels(model, schema))
        tab = DashboardTabModel(id=run_id(model, "tab"), title="Windows", panels=[panel.id for panel in panels])
        dashboard = DashboardModel(tabs=[tab], panels=panels)
        project = ProjectModel(id=project_id(model), name=model, description=f"Windows of {model} in production")
        (home / "snapshots").mkdir(parents=True, exist_ok=True)
        _write(home / "dashboard.json", json.dumps(dashboard.dict(), cls=NumpyEncoder))
        _write(home / "metadata.json", json.dumps(project.dict(), cls=NumpyEncoder))


def _panels(model: str, schema: Schema) -> Iterator[Any]:
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel, text_panel

    def identified(panel: Any) -> Any:
        return panel.copy(update={"id": run_id(model, f"panel {panel.title}")})

    def line(title: str, text: str, *values: PanelMetric, size: str = "half") -> Any:
        return identified(line_plot_panel(title, list(values), text, size))

    def metric(legend: str, name: str, **labels: str) -> PanelMetric:
        return PanelMetric(legend=legend, metric=name, metric_labels=labels)

    yield identified(
        text_panel(
            f"{model} in production, by window",
            "Evidently compares a sample of each window with the rows held out in training. What it calls drift is not"
            " the verdict: that stands in the Prefect UI, with its reasons.",
        )
    )
    yield line("Rows", "rows in the sample", metric("rows", "RowCount"))
    yield line(
        "Missing values", "missing values a row", metric("missing", "DatasetMissingValueCount", value_type="share")
    )
    yield line(
        "Drifted columns", "share, by Evidently's tests", metric("share", "DriftedColumnsCount", value_type="share")
    )
    yield line(
        "Quality",
        "where labels have come",
        *(metric(name.lower(), name) for name in ("Accuracy", "Precision", "Recall", "F1Score")),
    )
    shown = [column.name for column in schema.features][:COLUMNS_SHOWN]
    yield line(
        "Drift by column",
        "Evidently's p-value or distance of each column",
        *(metric(name, "ValueDrift", column=name) for name in shown),
        size="full",
    )


def _write(file: Path, content: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".new-", delete=False, encoding="utf-8") as draft:
        draft.write(content)
    Path(draft.name).replace(file)
