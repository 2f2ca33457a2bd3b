"""Two services on one store: they take the same generations, and labels find answers that the other gave."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.adapters.store import FolderStore
from mlops.core.labels import with_labels
from tests.scoring.conftest import IRIS
from tests.scoring.test_service import FLOWER, free_port, running, variables
from tests.waiting import becomes_ready

CONVERGED_SECONDS = 5.0


@pytest.fixture
def replicas(
    publish: Any, store: FolderStore, key_path: Path, iris: dict[str, bytes], tmp_path: Path
) -> Iterator[list[httpx.Client]]:
    """Two processes of iris in PROD, each with a spool and a cache of its own, as on two machines."""
    publish(1, iris)
    headers = {"Authorization": f"Bearer {key_path.read_text().strip()}"}
    with ExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            port = free_port()
            environ = variables(store, key_path, port) | {"MLOPS_STATE_DIR": str(tmp_path / name)}
            process = stack.enter_context(running(environ, tmp_path / f"{name}.log"))
            url = f"http://127.0.0.1:{port}"
            client = stack.enter_context(httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20))
            assert becomes_ready(client, process), "the service did not become ready"
            clients.append(client)
        yield clients


def test_replicas_converge_within_seconds(replicas: list[httpx.Client], publish: Any, stump: dict[str, bytes]) -> None:
    digest = publish(2, stump).champion.digest
    written = time.monotonic()
    behind = list(replicas)
    while behind and time.monotonic() - written < CONVERGED_SECONDS:
        behind = [each for each in behind if each.get("/readyz").json()["generation"] != 2]
        time.sleep(0.02)
    assert not behind
    assert {each.post("/score", json=FLOWER).json()["model"]["digest"] for each in replicas} == {digest}


def test_a_label_finds_the_answer_of_another_replica(replicas: list[httpx.Client], store: FolderStore) -> None:
    one, two = replicas
    assert one.post("/score", json=FLOWER, headers={"X-Request-ID": "by-one"}).status_code == 200
    batch = two.post("/score", json=[FLOWER] * 2, headers={"X-Request-ID": "by-two"})
    assert batch.status_code == 200
    sent = [{"request_id": "by-two.1", "label": "0"}]
    assert one.post("/feedback", json=sent).json() == {"accepted": 1}
    assert two.post("/feedback", json={"request_id": "by-one", "label": "2"}).json() == {"accepted": 1}
    deadline = time.monotonic() + 15
    while True:
        predictions, feedback = (table.to_pandas() for table in (read_predictions(store, "iris", "prod", schema=IRIS),
                                                                 read_feedback(store, "iris")))  # fmt: skip
        if len(predictions) == 3 and len(feedback) == 2:
            break
        assert time.monotonic() < deadline, (len(predictions), len(feedback))
        time.sleep(0.1)
    joined = with_labels(predictions, feedback, IRIS).set_index("_request_id")["Species"]
    assert joined.dropna().to_dict() == {"by-one": "2", "by-two.1": "0"}
