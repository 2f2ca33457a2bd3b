"""The smoke test: asks a running scoring service what its users will ask it."""

import statistics
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx

from mlops.adapters.scoring_client import ScoringClient
from mlops.core.bundle import ServedModel
from mlops.core.smoke import REQUEST_PREFIX, Check
from mlops.spec import ModelSpec

LATENCY_REQUESTS = 20


def smoke_test(url: str, key: str, spec: ModelSpec, served: ServedModel, digest: str) -> list[Check]:
    """Check that a service answers with one bundle, keeps the contract and is fast enough.

    Args:
        url: the service's address.
        key: one of its keys.
        spec: names the golden records and the latency budget.
        served: the bundle's description, with golden records of its own.
        digest: the bundle that must answer.
    """
    output = spec.data.output
    records = [*(golden.record for golden in spec.release.golden), *(golden.record for golden in served.golden)]
    with ScoringClient(url, key) as client, ScoringClient(url) as stranger:
        checks = [
            _timed("ready with the released bundle", lambda: _ready(client, digest)),
            _timed("without a key is refused", lambda: _status(_ask(stranger, records[0]), 401)),
            _timed("contract of one record", lambda: _contract(client, records[0], output)),
            _timed("contract of a batch", lambda: _batch(client, records, output)),
        ]
        if required := [column.name for column in spec.data.features if not column.nullable]:
            checks.append(_timed("a missing field is named", lambda: _missing(client, records[0], required[0])))
        for number, golden in enumerate(spec.release.golden, 1):
            expected = {golden.expect} if golden.expect else set(spec.data.target.classes)
            check = partial(_golden, client, golden.record, output, expected)
            checks.append(_timed(f"golden record {number}", check))
        checks.append(_timed("latency", lambda: _latency(client, records[0], spec.release.latency_ms)))
    return checks


def _timed(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    started = time.perf_counter()
    try:
        passed, detail = check()
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        passed, detail = False, f"{type(error).__name__}: {error}"
    return Check(name, passed, detail, time.perf_counter() - started)


def _ask(client: ScoringClient, records: Any) -> httpx.Response:
    return client.score(records, REQUEST_PREFIX + uuid.uuid4().hex)


def _ready(client: ScoringClient, digest: str) -> tuple[bool, str]:
    champion = client.ready().get("champion") or {}
    return champion.get("digest") == digest, f"version {champion.get('version')}, bundle {champion.get('digest')}"


def _status(response: httpx.Response, expected: int) -> tuple[bool, str]:
    return response.status_code == expected, f"status {response.status_code}, expected {expected}"


def _contract(client: ScoringClient, record: dict[str, object], output: str) -> tuple[bool, str]:
    response = _ask(client, record)
    kind, length = response.headers.get("content-type"), int(response.headers.get("content-length", 0))
    answered = output in response.json()["output"]
    passed = response.status_code == 200 and kind == "application/json" and length > 0 and answered
    return (
        passed,
        f"status {response.status_code}, {kind}, {length} bytes, output.{output} {'given' if answered else 'absent'}",
    )


def _batch(client: ScoringClient, records: list[dict[str, object]], output: str) -> tuple[bool, str]:
    answers = _ask(client, records).json()["output"]
    return len(answers) == len(records) and all(output in each for each in answers), f"{len(answers)} answers"


def _missing(client: ScoringClient, record: dict[str, object], required: str) -> tuple[bool, str]:
    response = _ask(client, {name: value for name, value in record.items() if name != required})
    return (
        response.status_code == 422 and required in response.text,
        f"status {response.status_code}, {response.text[:120]}",
    )


def _golden(client: ScoringClient, record: dict[str, object], output: str, expected: set[str]) -> tuple[bool, str]:
    answer = _ask(client, record).json()["output"][output]
    return answer in expected, f"answered {answer!r}, expected {' or '.join(map(repr, sorted(expected)))}"


def _latency(client: ScoringClient, record: dict[str, object], budget: float) -> tuple[bool, str]:
    seconds = []
    for _ in range(LATENCY_REQUESTS):
        started = time.perf_counter()
        _ask(client, record).raise_for_status()
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds) * 1000
    return median <= budget, f"median {median:.1f} ms of {LATENCY_REQUESTS} requests, budget {budget:g} ms"
