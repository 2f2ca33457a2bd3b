"""Evidently's workspace: its own reader finds our projects, panels and runs, and nothing is there twice."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops.adapters import evidently_workspace
from mlops.adapters.evidently_report import Label, quiet, render
from tests.adapters.test_evidently_report import TWO, rows


@pytest.fixture(scope="module")
def run() -> Any:
    label = Label("prod-2013-03-05", datetime(2013, 3, 5, tzinfo=UTC), ("retrain",))
    return render(rows(100, seed=0), rows(100, seed=1), TWO, labelled=True, label=label).run


def open_workspace(folder: Path) -> Any:
    with quiet():
        from evidently.ui.workspace import Workspace

        return Workspace(str(folder))


def test_a_window_is_a_run_of_its_model_however_often_it_is_published(tmp_path: Path, run: Any) -> None:
    for _ in range(2):
        evidently_workspace.publish(tmp_path, "flights", TWO, "prod-2013-03-05", run)
    workspace = open_workspace(tmp_path)
    (project,) = workspace.list_projects()
    assert (project.name, project.id) == ("flights", evidently_workspace.project_id("flights"))
    (found,) = workspace.list_runs(project.id)
    assert found == evidently_workspace.run_id("flights", "prod-2013-03-05")
    read = workspace.get_run(project.id, found)
    assert (read.name, read.timestamp.isoformat(), read.tags) == (
        "prod-2013-03-05",
        "2013-03-05T00:00:00+00:00",
        ["retrain"],
    )
    assert not list(tmp_path.rglob(".new-*"))


def test_the_dashboard_has_its_panels_and_keeps_what_a_person_changed(tmp_path: Path, run: Any) -> None:
    evidently_workspace.ensure_project(tmp_path, "flights", TWO)
    workspace = open_workspace(tmp_path)
    project = evidently_workspace.project_id("flights")
    dashboard = workspace.get_dashboard(project)
    (tab,) = dashboard.tabs
    assert tab.panels == [panel.id for panel in dashboard.panels]
    assert [panel.title for panel in dashboard.panels][1:] == [
        "Rows", "Missing values", "Drifted columns", "Quality", "Drift by column",
    ]  # fmt: skip
    drawn = {value.metric_labels.get("column") for value in dashboard.panels[-1].values}
    assert drawn == {"weight", "wind", "town"}
    dashboard.panels = dashboard.panels[:2]
    dashboard.tabs[0].panels = tab.panels[:2]
    workspace.save_dashboard(project, dashboard)
    evidently_workspace.publish(tmp_path, "flights", TWO, "next", run)
    assert len(open_workspace(tmp_path).get_dashboard(project).panels) == 2


def test_models_have_a_project_each(tmp_path: Path, run: Any) -> None:
    ids = {evidently_workspace.publish(tmp_path, model, TWO, "w", run) for model in ("iris", "flights")}
    assert len(ids) == 2
    assert {project.name for project in open_workspace(tmp_path).list_projects()} == {"iris", "flights"}
