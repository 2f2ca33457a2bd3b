"""Evidently's workspace: a project for each model whose dashboard has its panels, and a run for each window.

Both are kept in the store, where a flow run on any machine can leave them; ``Mirror`` fetches them into the folder that
Evidently's own UI shows. Projects and runs have ids made from their names, so what is published again replaces itself;
files appear whole, by rename, so the UI never reads half of one.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from mlops.adapters.evidently_report import quiet
from mlops.adapters.store import Conflict, NotFound, Store
from mlops.core.schema import Schema

NAMESPACE = UUID("6e1c4b42-6a0a-5d0c-9a5e-6f2f4b1f7c11")
COLUMNS_SHOWN = 20
"""Most columns whose drift is drawn; more lines cannot be told apart."""
PROJECT_FILES = ("dashboard.json", "metadata.json")
"""Of a project; Evidently sees it by the last one."""
WATCHED_SECONDS = 1.0
"""After which a folder that was made is watched by Evidently."""


def project_id(model: str) -> UUID:
    """The id of a model's project."""
    return uuid5(NAMESPACE, model)


def run_id(model: str, name: str) -> UUID:
    """The id of a model's run."""
    return uuid5(project_id(model), name)


def publish(store: Store, model: str, schema: Schema, name: str, run: Any) -> UUID:
    """Add a report to its model's project, which is made if it is new; return the run's id.

    Args:
        store: of the installation.
        model: names the project.
        schema: its columns have their line in the dashboard.
        name: of the run; one of that name is replaced.
        run: as ``evidently_report.EvidentlyReport.run``.

    Raises:
        StoreError: the store does not take it.
    """
    with quiet():
        from evidently.legacy.utils import NumpyEncoder

        ensure_project(store, model, schema)
        content = json.dumps(run.to_snapshot_model().dict(), cls=NumpyEncoder).encode()
    identifier = run_id(model, name)
    # The content is in the name, so that a listing tells what is new.
    prefix = f"{_home(model)}/runs/{identifier}."
    key = f"{prefix}{hashlib.sha256(content).hexdigest()[:16]}.json"
    earlier = store.list(prefix)  # Not what another check publishes at the same time: each would delete the other's.
    store.put(key, content)
    for other in earlier:
        if other != key:
            store.delete(other)
    return identifier


def ensure_project(store: Store, model: str, schema: Schema) -> None:
    """Keep a model's project with its panels, unless there is one.

    Raises:
        StoreError: the store does not take it.
    """
    if all(store.etag(f"{_home(model)}/{name}") for name in PROJECT_FILES):
        return
    with quiet():
        from evidently.legacy.utils import NumpyEncoder
        from evidently.sdk.models import DashboardModel, DashboardTabModel, ProjectModel

        panels = list(_panels(model, schema))
        tab = DashboardTabModel(id=run_id(model, "tab"), title="Windows", panels=[panel.id for panel in panels])
        dashboard = DashboardModel(tabs=[tab], panels=panels)
        project = ProjectModel(id=project_id(model), name=model, description=f"Windows of {model} in production")
        for name, made in zip(PROJECT_FILES, (dashboard, project), strict=True):
            with suppress(Conflict):
                store.put_if_absent(f"{_home(model)}/{name}", json.dumps(made.dict(), cls=NumpyEncoder).encode())


class Mirror:
    """The workspace as a folder, for Evidently's UI on this machine."""

    def __init__(self, store: Store, folder: Path, models: Iterable[str]) -> None:
        self._store = store
        self._folder = folder
        self._models = list(models)
        self._fetched: set[str] = set()
        self._unwatched: list[Path] = []
        self._since = 0.0

    def fetch(self) -> None:
        """Fetch what is new; a dashboard that is here already stays as a person changed it.

        Raises:
            StoreError: the store cannot be read; what was fetched by then is here.
        """
        if self._unwatched and time.monotonic() > self._since + WATCHED_SECONDS:
            for file in self._unwatched:
                self._write(file, file.read_bytes())
            self._unwatched = []
        for model in self._models:
            new = [key for key in self._store.list(f"{_home(model)}/runs/") if key not in self._fetched]
            if not new:
                continue
            home = self._folder / str(project_id(model))
            made = not (home / "snapshots").is_dir()
            (home / "snapshots").mkdir(parents=True, exist_ok=True)
            for name in PROJECT_FILES:
                if not (home / name).is_file():
                    self._write(home / name, self._store.get(f"{_home(model)}/{name}"))
            for key in new:
                with suppress(NotFound):  # It was replaced meanwhile.
                    name = key.rpartition("/")[2].partition(".")[0]
                    self._write(home / "snapshots" / f"{name}.json", self._store.get(key))
                self._fetched.add(key)
            if made:
                # Evidently watches a new folder a moment after it was made: what came earlier comes once more, later.
                self._unwatched += [home / PROJECT_FILES[-1], *sorted((home / "snapshots").glob("*.json"))]
                self._since = time.monotonic()

    def _write(self, file: Path, content: bytes) -> None:
        # Not in the folder: Evidently watches it for new files, and would take this for a file of another name.
        drafts = self._folder.with_name(f".{self._folder.name}-new")
        drafts.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=drafts, delete=False) as draft:
            draft.write(content)
        shutil.move(draft.name, file)  # Which copies where the folder is a mount of its own.


def _home(model: str) -> str:
    return f"{model}/reports/evidently"


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
