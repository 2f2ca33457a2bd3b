"""Evidently's workspace: its own reader finds what was published in the store, and nothing is there twice."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mlops.adapters import evidently_workspace
from mlops.adapters.evidently_report import Label, quiet, render
from mlops.adapters.store import FolderStore, StoreError
from tests.adapters.test_evidently_report import TWO, rows

MODELS = ("flights", "iris")


@pytest.fixture(scope="module")
def run() -> Any:
    label = Label("prod-2013-03-05", datetime(2013, 3, 5, tzinfo=UTC), ("retrain",))
    return render(rows(100, seed=0), rows(100, seed=1), TWO, labelled=True, label=label).run


def open_workspace(folder: Path) -> Any:
    with quiet():
        from evidently.ui.workspace import Workspace

        return Workspace(str(folder))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    return made


def fetch(store: FolderStore, folder: Path) -> Any:
    evidently_workspace.Mirror(store, folder, MODELS).fetch()
    return open_workspace(folder)


def test_a_window_is_a_run_of_its_model_however_often_it_is_published(
    store: FolderStore, folder: Path, run: Any
) -> None:
    for _ in range(2):
        evidently_workspace.publish(store, "flights", TWO, "prod-2013-03-05", run)
    assert len(store.list("flights/reports/evidently/runs/")) == 1
    workspace = fetch(store, folder)
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
    assert [each.name for each in folder.parent.iterdir() if each.is_dir() and not any(each.iterdir())] == [
        ".workspace-new"
    ]


def test_a_run_that_is_published_again_with_more_replaces_itself(store: FolderStore, folder: Path, run: Any) -> None:
    mirror = evidently_workspace.Mirror(store, folder, MODELS)
    evidently_workspace.publish(store, "flights", TWO, "w", run)
    mirror.fetch()
    label = Label("w", datetime(2013, 3, 6, tzinfo=UTC), ("ok",))
    again = render(rows(100, seed=0), rows(100, seed=2), TWO, labelled=True, label=label).run
    evidently_workspace.publish(store, "flights", TWO, "w", again)
    assert len(store.list("flights/reports/evidently/runs/")) == 1
    mirror.fetch()
    workspace, project = open_workspace(folder), evidently_workspace.project_id("flights")
    (found,) = workspace.list_runs(project)
    assert workspace.get_run(project, found).tags == ["ok"]


def test_what_came_with_a_new_folder_comes_once_more_when_evidently_watches_it(
    store: FolderStore, folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = evidently_workspace.Mirror(store, folder, MODELS)
    evidently_workspace.publish(store, "iris", TWO, "first", run)

    def files() -> dict[str, int]:
        """By name, what tells a file from the one before it."""
        mirror.fetch()
        return {file.name: file.stat().st_mtime_ns for file in folder.rglob("*.json") if file.name != "dashboard.json"}

    came = files()
    assert files() == came, "too early"
    monkeypatch.setattr(evidently_workspace, "WATCHED_SECONDS", 0.0)
    again = files()
    assert again.keys() == came.keys()
    assert all(again[name] > came[name] for name in came)
    assert files() == again, "once"


def test_what_was_fetched_is_not_read_again(
    store: FolderStore, folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = evidently_workspace.Mirror(store, folder, MODELS)
    mirror.fetch()
    assert list(folder.iterdir()) == []
    evidently_workspace.publish(store, "flights", TWO, "w", run)
    mirror.fetch()

    def unread(_: FolderStore, key: str) -> bytes:
        raise StoreError(f"{key} was read again")

    monkeypatch.setattr(FolderStore, "get", unread)
    mirror.fetch()


def test_the_dashboard_has_its_panels_and_keeps_what_a_person_changed(
    store: FolderStore, folder: Path, run: Any
) -> None:
    evidently_workspace.publish(store, "flights", TWO, "first", run)
    workspace = fetch(store, folder)
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
    evidently_workspace.publish(store, "flights", TWO, "next", run)
    assert len(fetch(store, folder).get_dashboard(project).panels) == 2
    assert len(open_workspace(folder).list_runs(project)) == 2


def test_models_have_a_project_each(store: FolderStore, folder: Path, run: Any) -> None:
    ids = {evidently_workspace.publish(store, model, TWO, "w", run) for model in MODELS}
    assert len(ids) == 2
    assert {project.name for project in fetch(store, folder).list_projects()} == set(MODELS)
