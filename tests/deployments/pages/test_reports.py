"""The reports server answers only keys of reports, read-only."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from deployments.pages.reports import reports_of
from mlops.adapters.store import FolderStore

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    store = FolderStore(tmp_path)
    store.put("iris/reports/drift/w1.html", b"<h1>w1</h1>")
    store.put("iris/reports/smoke.xml", b"<testsuite/>")
    store.put("iris/reports/model.joblib", b"no")
    store.put("iris/serving/prod.json", b"{}")
    transport = httpx.ASGITransport(reports_of(store))

    async def send(method: str, path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path)

    return lambda path, method="GET": asyncio.run(send(method, path))


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/iris/reports/drift/w1.html", b"<h1>w1</h1>", "text/html; charset=utf-8"),
        ("/iris/reports/smoke.xml", b"<testsuite/>", "application/xml"),
    ],
)
def test_report_is_served(ask: Ask, path: str, body: bytes, content_type: str) -> None:
    answer = ask(path)

    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/iris/reports/absent.html", 404),
        ("/iris/reports/model.joblib", 404),
        ("/iris/serving/prod.json", 404),
        ("/iris/reports/..%2Fserving%2Fprod.json", 400),
        ("/iris/reports/%2e%2e/serving/prod.json", 400),
        ("/..%2Firis/reports/smoke.xml", 404),
        ("/iris/reports/a//b.html", 400),
        ("/", 404),
    ],
)
def test_nothing_else_is_served(ask: Ask, path: str, status: int) -> None:
    assert ask(path).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_server_is_read_only(ask: Ask, method: str) -> None:
    assert ask("/iris/reports/smoke.xml", method).status_code == 405
