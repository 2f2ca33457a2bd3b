"""Requests that wait at the same moment are answered in one go, and none suffers from another's fault."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from mlops.adapters.prediction_log import read_predictions
from mlops.scoring.together import Together

NAMES = ("SepalLengthCm", "SepalWidthCm", "PetalLengthCm", "PetalWidthCm")


def flower(*values: float) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=True))


GOOD, OTHER = flower(5.1, 3.5, 1.4, 0.2), flower(6.3, 3.3, 6.0, 2.5)
INFINITE, UNLUCKY = flower(7, 1, 1, 1), flower(13, 1, 1, 1)


@pytest.fixture
def calls(publish: Any, serve: Any, iris: dict[str, bytes]) -> tuple[Any, list[int]]:
    """A service, and the sizes of the calls that are made to its model."""
    publish(1, iris)
    service, sizes = serve("iris"), []
    working = service.serving.current.champion._predict

    def predict(rows: Any) -> Any:
        sizes.append(len(rows))
        if any(row[0] == 13 for row in rows):
            raise RuntimeError("unlucky")
        return np.array([[np.nan] * 3 if row[0] == 7 else working([row])[0] for row in rows])

    service.serving.current.champion._predict = predict
    return service, sizes


def ask(service: Any, *records: Any) -> list[Any]:
    """Ask for all at the same moment."""

    async def at_once() -> list[Any]:
        return await asyncio.gather(*(one(i, record) for i, record in enumerate(records)))

    async def one(number: int, record: Any) -> Any:
        content = json.dumps(record).encode()
        headers = [(b"authorization", b"Bearer a-key-for-tests"), (b"content-length", b"%d" % len(content))]
        headers.append((b"x-request-id", b"r%d" % number))
        return await service.answer({"type": "http", "method": "POST", "path": "/score", "headers": headers}, content)

    return asyncio.run(at_once())


def test_one_call_answers_and_logs_all_in_their_order(calls: Any, store: Any) -> None:
    service, sizes = calls
    answers = [answer.json() for answer in ask(service, GOOD, OTHER, GOOD)]
    assert [answer["output"]["predicted_species"] for answer in answers] == ["0", "2", "0"]
    assert [answer["request_id"] for answer in answers] == ["r0", "r1", "r2"]
    assert sizes == [3]
    assert [answer.json()["output"]["predicted_species"] for answer in ask(service, OTHER)] == ["2"]
    assert 'answers_total{model="iris",environment="prod",role="champion",version="1",status="200"} 4' in (
        service.ask("/metrics").text
    )
    service.close()
    logged = read_predictions(store, "iris", "prod")
    assert logged["_request_id"].to_pylist() == ["r0", "r1", "r2", "r0"]
    assert logged["_predicted"].to_pylist() == ["0", "2", "0", "2"]
    assert logged["_probabilities"].to_pylist()[:2] == [[1, 0, 0], [0, 0, 1]]
    assert logged["SepalLengthCm"].to_pylist() == [5.1, 6.3, 5.1, 6.3]


def test_a_fault_is_its_own_requests_alone(calls: Any) -> None:
    service, sizes = calls
    answers = ask(service, GOOD, INFINITE, UNLUCKY, flower(5, 3, 1, -1), OTHER)
    assert [answer.status_code for answer in answers] == [200, 422, 500, 422, 200]
    assert "PetalWidthCm" in answers[3].json()["error"]
    assert "RuntimeError" in answers[2].json()["error"]
    assert (answers[0].json()["request_id"], answers[4].json()["request_id"]) == ("r0", "r4")
    assert sizes == [1, 1, 1, 1]  # The wrong field shows before the model is asked for all.


def test_each_is_scored_by_the_shadow(
    publish: Any, serve: Any, iris: dict[str, bytes], stump: dict[str, bytes], store: Any
) -> None:
    publish(1, iris, shadow=stump)
    service = serve("iris")
    assert [answer.status_code for answer in ask(service, GOOD, OTHER, flower(5, 3, 1, -1))] == [200, 200, 422]
    service.close()
    logged = read_predictions(store, "iris", "prod")
    found = sorted(zip(logged["_request_id"].to_pylist(), logged["_role"].to_pylist(), strict=True))
    assert found == [("r0", "champion"), ("r0", "shadow"), ("r1", "champion"), ("r1", "shadow")]


def test_who_has_gone_is_not_waited_for(calls: Any) -> None:
    service, _ = calls
    generation = service.serving.current

    async def leave() -> Any:
        waiting = Together(lambda group: group.bodies)
        gone, stays = (waiting.ask(generation, generation.champion_choice, "r", body) for body in (b"gone", b"stays"))
        gone.cancel()
        return await stays

    assert asyncio.run(leave()) == b"stays"


def test_what_fails_for_all_is_told_to_each(calls: Any) -> None:
    service, _ = calls
    generation = service.serving.current

    async def fail() -> list[Any]:
        waiting = Together(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
        asked = (waiting.ask(generation, generation.champion_choice, "r", b"") for _ in range(2))
        return await asyncio.gather(*asked, return_exceptions=True)

    assert [type(each) for each in asyncio.run(fail())] == [ZeroDivisionError] * 2
