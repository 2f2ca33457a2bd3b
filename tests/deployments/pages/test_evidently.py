"""Evidently's interface shows what checks left in the store, also when they did so after its start."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.pages import evidently
from mlops import settings as settings_module
from mlops.adapters import evidently_workspace
from mlops.adapters.evidently_report import Label, render
from mlops.adapters.sign_in import VARIABLE
from mlops.adapters.store import FolderStore, StoreError
from tests.adapters.test_evidently_report import TWO, rows
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    settings = settings_module.Settings(home=ROOT, state_dir=tmp_path, store=(tmp_path / "store").as_uri())
    monkeypatch.setattr(settings_module, "load", lambda: settings)
    monkeypatch.setattr(evidently, "FRESH_SECONDS", 0.0)
    monkeypatch.delenv(VARIABLE, raising=False)
    return store


def publish(store: FolderStore, name: str) -> None:
    label = Label(name, datetime(2013, 3, 5, tzinfo=UTC))
    run = render(rows(100, seed=0), rows(100, seed=1), TWO, labelled=True, label=label).run
    evidently_workspace.publish(store, "iris", TWO, name, run)


def ask(app: Any, path: str, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(path, **options)

    return asyncio.run(send())


def names(answer: httpx.Response) -> list[str]:
    return [each["name"] for each in answer.raise_for_status().json()]


def test_new_runs_are_shown_and_an_outage_of_the_store_is_none_of_the_pages(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = evidently.create_app()
    assert ask(app, "/api/projects").json() == []
    publish(store, "first")
    # Evidently watches its folder, and sees what changed there a moment later.
    assert eventually(lambda: names(ask(app, "/api/projects")) == ["iris"], 60)
    (project,) = ask(app, "/api/projects").json()
    runs = f"/api/projects/{project['id']}/reports"
    publish(store, "second")
    assert eventually(lambda: len(ask(app, runs).json()) == 2, 60), ask(app, runs).text

    def away(_: FolderStore, prefix: str) -> list[str]:
        raise StoreError(f"{prefix} cannot be listed")

    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "list", away)
        assert names(ask(app, "/api/projects")) == ["iris"]


def test_with_a_sign_in_nothing_answers_without_but_the_version(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "first")
    monkeypatch.setenv(VARIABLE, "mlops:secret")
    app = evidently.create_app()
    assert [ask(app, path).status_code for path in ("/", "/api/projects", "/api/version")] == [401, 401, 200]
    known = ("mlops", "secret")
    assert eventually(lambda: names(ask(app, "/api/projects", auth=known)) == ["iris"], 60)
