"""The service as a process: light to start, strict about its port, and nothing lost when it is told to stop."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops.adapters.prediction_log import read_predictions
from mlops.adapters.store import FolderStore
from mlops.scoring.config import Limits
from tests.ports import free_port
from tests.waiting import becomes_ready, eventually

ROOT = Path(__file__).parents[2]
FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
HEAVY = {"pandas", "sklearn", "prefect", "evidently", "mlflow", "scipy", "matplotlib"}


def variables(store: FolderStore, key_path: Path, port: int) -> dict[str, str]:
    return os.environ | {
        "MLOPS_STORE": store.root.as_uri(),
        "MLOPS_SCORING_MODEL": "iris",
        "MLOPS_SCORING_ENVIRONMENT": "prod",
        "MLOPS_SCORING_BIND_PORT": str(port),
        "MLOPS_SCORING_KEYS_FILE": str(key_path),
    }


@contextmanager
def running(environ: dict[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlops.scoring"], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def service(
    publish: Any, store: FolderStore, key_path: Path, iris: dict[str, bytes], tmp_path: Path
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    publish(1, iris)
    port = free_port()
    headers = {"Authorization": f"Bearer {key_path.read_text().strip()}"}
    with (
        running(variables(store, key_path, port), tmp_path / "service.log") as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=20) as client,
    ):
        assert becomes_ready(client, process), "the service did not become ready"
        yield client, process


def test_nothing_answered_is_lost_at_the_end(service: Any, store: FolderStore) -> None:
    client, process = service

    def ask(i: int) -> str:
        try:
            answer = client.post("/score", json=FLOWER, headers={"X-Request-ID": f"r{i}"})
        except httpx.TransportError:
            return ""
        return str(answer.json()["request_id"]) if answer.status_code == 200 else ""

    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(ask, i) for i in range(400)]
        while not asked[100].done():
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        answered = {each.result() for each in asked} - {""}
    assert process.wait(timeout=20) == 0
    logged = set(read_predictions(store, "iris", "prod")["_request_id"].to_pylist())
    assert len(answered) > 100
    assert answered <= logged


def test_the_contract_holds_over_http(service: Any) -> None:
    client, process = service
    answer = client.post("/score", json=FLOWER)
    assert answer.json()["output"] == {"predicted_species": "1"}
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert client.post("/score", json=[FLOWER] * 10_000).json()["output"] == [{"predicted_species": "1"}] * 10_000
    parts = [json.dumps(FLOWER)[:20].encode(), json.dumps(FLOWER)[20:].encode()]
    assert client.post("/score", content=iter(parts)).json()["output"] == {"predicted_species": "1"}
    assert client.post("/score", content=b" " * (Limits().body + 1)).status_code == 413
    assert client.post("/score", content=iter([b"[", b"1" * Limits().body, b"]"])).status_code == 413
    assert client.get("/healthz").json()["pid"] == process.pid
    assert client.head("/healthz").status_code == 200


def test_a_second_service_on_the_port_is_refused(
    service: Any, store: FolderStore, key_path: Path, tmp_path: Path
) -> None:
    client, _ = service
    log = tmp_path / "second.log"
    port = client.base_url.port
    with running(variables(store, key_path, port), log) as second:
        assert second.wait(timeout=20) == 2
    assert f"127.0.0.1:{port}" in log.read_text()
    assert "MLOPS_SCORING_BIND_PORT" in log.read_text()


def test_a_missing_variable_is_named_and_ends_the_start(store: FolderStore, key_path: Path, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    with running(variables(store, key_path, 1) | {"MLOPS_SCORING_MODEL": ""}, log) as process:
        assert process.wait(timeout=20) == 2
    assert "MLOPS_SCORING_MODEL is not set" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_scoring_and_logging_import_nothing_heavy(
    publish: Any, store: FolderStore, key_path: Path, iris: dict[str, bytes]
) -> None:
    publish(1, iris)
    program = """
import sys
import time
from mlops.adapters.prediction_log import PredictionLog, prediction_keys
from mlops.scoring import __main__, config
from mlops.scoring.cache import Cache
from mlops.scoring.state import Serving
from mlops.adapters.store import open_store
from mlops.adapters.prediction_tables import Predictions
told = config.load()
store = open_store(told.store_uri)
serving = Serving(store, "iris", "prod", Cache(told.cache, "iris", "prod"))
serving.poll()
model = serving.current.champion
rows = model.reader.check(model.about.golden[0].record, 1).rows
predicted, probabilities = model.predict(rows)
log = PredictionLog(store, "iris", "prod", told.spool)
log.start()
log.add(Predictions(schema=model.schema, request_ids=["a"], time=time.time_ns() // 1000, generation=1, version="1",
                    digest="d", role="champion", predicted=predicted, probabilities=probabilities, rows=rows))
log.close()
assert len(prediction_keys(store, "iris", "prod")) == 1
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=variables(store, key_path, 8100), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert HEAVY.isdisjoint(ended.stdout.split())


@contextmanager
def away(store: FolderStore) -> Iterator[None]:
    """Take a store away: whoever reads or writes in it gets an OSError."""
    aside = store.root.with_name("aside")
    store.root.rename(aside)
    store.root.symlink_to(store.root)  # A loop.
    try:
        yield
    finally:
        store.root.unlink()
        aside.rename(store.root)


def metric(client: httpx.Client, name: str) -> float:
    """The value of a metric of the service."""
    return float(re.findall(rf"mlops_scoring_{name}{{.*}} (\S+)", client.get("/metrics").text)[0])


def test_an_outage_of_the_store_and_a_kill_lose_no_logged_row(
    publish: Any, store: FolderStore, key_path: Path, iris: dict[str, bytes], tmp_path: Path
) -> None:
    publish(1, iris)
    port = free_port()
    environ, log = variables(store, key_path, port), tmp_path / "service.log"
    headers = {"Authorization": f"Bearer {key_path.read_text().strip()}"}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=20)

    def ask(*names: str) -> None:
        for name in names:
            assert client.post("/score", json=FLOWER, headers={"X-Request-ID": name}).status_code == 200

    with client:
        with running(environ, log) as process:
            assert becomes_ready(client, process), "the service did not become ready"
            with away(store):
                ask("a", "b")
                assert eventually(lambda: metric(client, "log_spooled_bytes") > 0)
                assert metric(client, "state_error") == 1
                assert metric(client, "log_dropped_rows_total") == 0
                process.kill()
                process.wait()
        with running(environ, log) as process:
            with away(store):
                assert becomes_ready(client, process), "the service did not become ready"
                assert client.get("/readyz").json()["source"] == "cache"
                assert metric(client, "log_queued_rows") == 2
                ask("c")
            assert eventually(lambda: metric(client, "log_queued_rows") == 0)
            assert eventually(lambda: client.get("/readyz").json()["source"] == "store")
    logged = read_predictions(store, "iris", "prod")["_request_id"].to_pylist()
    assert logged == ["a", "b", "c"]


def test_the_log_is_one_json_object_a_line_without_the_key(service: Any, tmp_path: Path, key_path: Path) -> None:
    client, process = service
    client.post("/score", json=FLOWER)
    client.post("/score", json=FLOWER, headers={"Authorization": "Bearer another-key"})
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    text = (tmp_path / "service.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "message", "model", "environment", "version"} <= line.keys() for line in lines)
    assert {(line["model"], line["environment"]) for line in lines} == {("iris", "prod")}
    assert (lines[0]["version"], lines[-1]["version"]) == (None, "1")
    assert key_path.read_text().strip() not in text
    assert "another-key" not in text
    assert "/score" not in text
