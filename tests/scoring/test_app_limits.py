"""The service under too much: limits on requests, size and time, each refused with its reason."""

import asyncio
import json
import threading
from typing import Any

import pytest

from mlops.adapters.prediction_log import read_predictions
from mlops.adapters.store import FolderStore
from mlops.scoring.scorer import MOST_AT_CANARY
from tests.scoring.records import FLOWER


def test_a_raising_champion_is_a_500_with_a_reason_and_the_service_lives(service: Any) -> None:
    champion = service.serving.current.champion
    working = champion._predict
    champion._predict = lambda _: 1 / 0
    answer = service.ask("/score", FLOWER, x_request_id="asked")
    assert answer.status_code == 500
    assert "version 1 of iris failed on this request (ZeroDivisionError)" in answer.json()["error"]
    assert "asked" in answer.json()["error"]
    champion._predict = working
    assert service.ask("/score", FLOWER).status_code == 200
    assert 'role="champion",version="1",status="500"} 1' in service.ask("/metrics").text


def slow(service: Any, release: threading.Event) -> None:
    """Let the champion answer only after an event, and be known as slow."""
    champion = service.serving.current.champion
    working = champion._predict
    champion._predict = lambda rows: working(rows) if release.wait(20) else None
    champion.took(10)


def at_once(service: Any, body: Any, times: int, meanwhile: Any = None) -> list[Any]:
    """Ask several times at once; return the answers in the order of asking."""
    content = json.dumps(body).encode()
    headers = [(b"authorization", b"Bearer a-key-for-tests"), (b"content-length", b"%d" % len(content))]
    scope = {"type": "http", "method": "POST", "path": "/score", "headers": headers}

    async def ask() -> list[Any]:
        asked = [asyncio.create_task(service.answer(scope, content)) for _ in range(times)]
        await asyncio.sleep(0)  # Each has begun.
        if meanwhile:
            await asyncio.to_thread(meanwhile)
        return await asyncio.gather(*asked)

    return asyncio.run(ask())


def test_more_requests_than_the_limit_are_told_to_come_again(publish: Any, serve: Any, iris: dict[str, bytes]) -> None:
    publish(1, iris)
    service, release = serve("iris", requests=2), threading.Event()
    slow(service, release)
    answers = at_once(service, FLOWER, 3, release.set)
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert answers[2].headers["retry-after"] == "1"
    assert "2 requests are in flight" in answers[2].json()["error"]
    assert service.ask("/score", FLOWER).status_code == 200


def test_a_canary_that_hangs_leaves_room_for_the_champion(
    publish: Any, serve: Any, iris: dict[str, bytes], stump: dict[str, bytes]
) -> None:
    publish(1, iris, canary=stump, share=1.0)
    service, release = serve("iris", requests=64, seconds=2.0), threading.Event()
    canary = service.serving.current.canary
    canary._predict = lambda _: release.wait(20)
    answers = at_once(service, FLOWER, 60)
    release.set()
    assert {(answer.status_code, answer.json()["model"]["version"]) for answer in answers} == {(200, "1")}
    told = service.ask("/metrics").text
    assert f'role="canary",version="3",status="500"}} {MOST_AT_CANARY}' in told, "those that it did not answer"
    assert 'role="champion",version="1",status="200"} 60' in told


def test_large_requests_have_a_limit_of_their_own(publish: Any, serve: Any, iris: dict[str, bytes]) -> None:
    publish(1, iris)
    service, release = serve("iris", large=1), threading.Event()
    slow(service, release)
    answers = at_once(service, [FLOWER] * 400, 2, release.set)
    assert [answer.status_code for answer in answers] == [200, 503]
    assert "1 large requests are in flight" in answers[1].json()["error"]


def test_what_takes_too_long_is_a_503_that_leaves_no_trace(
    publish: Any, serve: Any, iris: dict[str, bytes], store: FolderStore
) -> None:
    publish(1, iris)
    service, release = serve("iris", seconds=0.1), threading.Event()
    slow(service, release)
    (late,) = at_once(service, FLOWER, 1)
    release.set()
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    assert "not answered within 0.1 s" in late.json()["error"]
    service.close()
    assert len(read_predictions(store, "iris", "prod")) == 0


def test_a_batch_ends_between_slices_when_its_time_is_over(service: Any) -> None:
    champion = service.serving.current.champion
    rows = champion.reader.check([FLOWER] * 5_000, 5_000).rows
    assert len(champion.predict(rows)[0]) == 5_000
    with pytest.raises(TimeoutError):
        champion.predict(rows, deadline=0.0)


def test_a_slow_model_is_asked_in_a_thread_and_a_quick_one_again_at_once(service: Any) -> None:
    champion = service.serving.current.champion
    assert champion.quick
    champion.took(1.0)
    assert not champion.quick
    for _ in range(100):
        service.ask("/score", FLOWER)
    assert champion.quick
