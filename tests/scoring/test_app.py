"""The scoring contract: answers, refusals that name the field, keys and limits."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.adapters.store import FolderStore
from mlops.scoring.config import Limits
from tests.scoring.records import FLIGHT, FLOWER


def test_one_record_is_answered_with_its_class(service: Any) -> None:
    answer = service.ask("/score", FLOWER, x_request_id="my-request.1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    body = answer.json()
    assert body["output"] == {"predicted_species": "1"}
    assert body["request_id"] == "my-request.1"
    assert sum(body["probabilities"].values()) == pytest.approx(1)
    assert max(body["probabilities"], key=body["probabilities"].get) == "1"
    assert body["model"] == {"name": "iris", "version": "1", "digest": service.serving.current.champion.digest}


def test_a_list_is_answered_with_lists_in_order(service: Any) -> None:
    setosa = {"SepalLengthCm": 5.1, "SepalWidthCm": 3.5, "PetalLengthCm": 1.4, "PetalWidthCm": 0.2}
    body = service.ask("/score", [setosa, FLOWER] * 300).json()
    assert body["output"] == [{"predicted_species": "0"}, {"predicted_species": "1"}] * 300
    assert len(body["probabilities"]) == 600


def test_answers_equal_the_models_own(flights: Any) -> None:
    for golden in flights.serving.current.champion.about.golden:
        probabilities = flights.ask("/score", golden.record).json()["probabilities"]
        assert tuple(probabilities.values()) == pytest.approx(golden.probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"PetalWidthCm": "1.4"}, "PetalWidthCm", "must be a number, not text"),
        ({"PetalWidthCm": True}, "PetalWidthCm", "must be a number, not a boolean"),
        ({"PetalWidthCm": None}, "PetalWidthCm", "is null"),
        ({"PetalWidthCm": float("nan")}, "PetalWidthCm", "must be finite"),
        ({"PetalWidthCm": float("-inf")}, "PetalWidthCm", "must be finite"),
        ({"PetalWidthCm": 31}, "PetalWidthCm", "is out of range: must be at least 0.1 and at most 30 cm"),
        ({"PetalWidthCm": 10**400}, "PetalWidthCm", "is out of range"),
        ({"PetalWidthCm": [1.4]}, "PetalWidthCm", "must be a number, not a list"),
        ({"Colour": "blue"}, "Colour", "is not a field of this model"),
    ],
)
def test_a_wrong_field_is_named(service: Any, change: dict[str, Any], field: str, reason: str) -> None:
    answer = service.ask("/score", FLOWER | change)
    assert answer.status_code == 422
    (problem,) = answer.json()["fields"]
    assert problem["field"] == field
    assert problem["reason"].startswith(reason)
    assert field in answer.json()["error"]


def test_all_wrong_fields_of_a_list_are_named_with_their_record(service: Any) -> None:
    missing = {name: value for name, value in FLOWER.items() if name != "PetalWidthCm"}
    answer = service.ask("/score", [FLOWER, missing | {"SepalWidthCm": "3"}, 7])
    assert answer.status_code == 422
    assert [(each["index"], each["field"], each["reason"]) for each in answer.json()["fields"]] == [
        (1, "SepalWidthCm", "must be a number, not text"),
        (1, "PetalWidthCm", "is missing"),
        (2, "", "a record must be an object, not a number"),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"origin": "LGA"}, "origin: must be one of EWR, JFK"),
        ({"carrier": 7}, "carrier: must be text, not a number"),
        ({"carrier": "x" * 300}, "carrier: must have at most 256 characters"),
        ({"origin": ""}, "origin: is empty"),
        ({"seats": 1.5}, "seats: must be an integer"),
        ({"number": "7"}, "number: must be an integer, not text"),
        ({"distance": 1e300}, "distance: is out of range"),
        ({"departure": "2013-02-20T12:00:00"}, "departure: must be a time with its offset"),
        ({"departure": 1361361600}, "departure: must be a time with its offset"),
        ({"departure": "0001-01-01T00:00:00+23:00"}, "departure: must be a time with its offset"),
    ],
)
def test_each_type_has_its_rules(flights: Any, change: dict[str, Any], reason: str) -> None:
    answer = flights.ask("/score", FLIGHT | change)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(reason)


def test_the_event_time_is_required_and_keys_are_not(flights: Any) -> None:
    without = {name: value for name, value in FLIGHT.items() if name not in ("number", "carrier")}
    assert flights.ask("/score", without).status_code == 200
    assert flights.ask("/score", without | {"number": 7.0, "carrier": None, "seats": None}).status_code == 200
    del without["departure"]
    assert flights.ask("/score", without).json()["error"] == "departure: is missing"


def test_more_wrong_fields_than_are_listed_are_counted(service: Any) -> None:
    body = service.ask("/score", [{}] * 60).json()
    assert len(body["fields"]) == 100
    assert "(and 239 more)" in body["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b"1" * 5000,
        b'{"a":NaN,"a":1}',
    ],
)
def test_what_is_not_json_is_a_bad_request(service: Any, body: bytes) -> None:
    answer = service.ask("/score", body)
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]


def test_too_much_is_refused(service: Any) -> None:
    assert service.ask("/score", [FLOWER] * 10_001).status_code == 422
    assert service.ask("/score", [{}] * 10_001).status_code == 422
    assert service.ask("/score", b" " * (Limits().body + 1)).status_code == 413
    assert service.ask("/score", b"{}", content_length=str(Limits().body + 1)).status_code == 413
    assert service.ask("/score", []).status_code == 422


def test_clients_that_send_slowly_or_go_away_are_let_go(publish: Any, serve: Any, iris: dict[str, bytes]) -> None:
    publish(1, iris)
    service = serve("iris", body_seconds=0.05)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/score",
        "headers": [(b"authorization", b"Bearer a-key-for-tests")],
    }

    def answers(goes_away: bool, first: bytes = b"{") -> list[Any]:
        messages: list[Any] = []
        received = iter([{"type": "http.request", "body": first, "more_body": True}] if first else [])

        async def receive() -> dict[str, Any]:
            if (message := next(received, None)) is None and not goes_away:
                await asyncio.Event().wait()
            return message or {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)

        asyncio.run(service.app(scope, receive, send))
        return messages

    assert answers(goes_away=False)[0]["status"] == 408
    assert answers(goes_away=True) == []
    assert answers(goes_away=False, first=b"")[0]["status"] == 408
    assert answers(goes_away=True, first=b"") == []


@pytest.mark.parametrize("key", [None, "", "wrong", "a-key-for-tests2"])
@pytest.mark.parametrize("path", ["/score", "/feedback"])
def test_without_the_key_nothing_is_answered(service: Any, path: str, key: str | None) -> None:
    answer = service.ask(path, FLOWER, key=key)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/json"


def test_paths_methods_and_request_ids_are_checked(service: Any) -> None:
    assert service.ask("/nothing").status_code == 404
    answer = service.ask("/score")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert service.ask("/readyz", {}).status_code == 405
    assert service.ask("/score", FLOWER, x_request_id="no spaces").json()["fields"][0]["field"] == "X-Request-ID"


def test_head_is_answered_without_a_body(service: Any) -> None:
    answer = service.ask("/healthz", method="HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_answers_are_logged_with_their_inputs(flights: Any, store: FolderStore) -> None:
    one = flights.ask("/score", FLIGHT, x_request_id="one").json()
    flights.ask("/score", [FLIGHT, FLIGHT | {"carrier": None, "seats": 9}], x_request_id="many")
    flights.close()
    log = read_predictions(store, "mixed", "prod").to_pandas()
    assert list(log["_request_id"]) == ["one", "many.0", "many.1"]
    assert set(log["_role"]) == {"champion"}
    assert set(log["_environment"]) == {"prod"}
    first, last = log.iloc[0], log.iloc[2]
    assert str(first["departure"]) == "2013-02-20 11:00:00+00:00"
    assert (first["number"], first["origin"], first["distance"]) == (7.0, "JFK", 2000.0)
    assert log["seats"].isna().tolist() == [True, True, False]
    assert log["carrier"].isna().tolist() == [False, False, True]
    assert first["_predicted"] == one["output"]["predicted_late"]
    assert list(first["_probabilities"]) == list(one["probabilities"].values())
    assert (last["_generation"], last["_version"], last["_digest"]) == (1, "1", one["model"]["digest"])


def test_feedback_is_accepted_and_logged(service: Any, store: FolderStore) -> None:
    one = service.ask("/feedback", {"request_id": "a", "label": "1"})
    assert (one.status_code, one.json()) == (202, {"accepted": 1})
    many = [{"request_id": "b.0", "label": "0"}, {"request_id": "b.1", "label": "2"}]
    assert service.ask("/feedback", many).json() == {"accepted": 2}
    service.close()
    log = read_feedback(store, "iris").to_pydict()
    assert dict(zip(log["_request_id"], log["_label"], strict=True)) == {"a": "1", "b.0": "0", "b.1": "2"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"request_id": "a", "label": "3"}, "label: must be one of the texts 0, 1, 2"),
        ({"request_id": "a", "label": 1}, "label: must be one of the texts 0, 1, 2"),
        ({"request_id": "a"}, "label: is missing"),
        ({"request_id": "", "label": "1"}, "request_id: must be 1 to 90 letters"),
        ([{"request_id": "a", "label": "1"}, {"label": "1"}], "record 1: request_id: is missing"),
        ({"request_id": "a", "label": "1", "x": 1}, "x: is not a field of feedback"),
        ("text", ": must be an object with request_id and label, not text"),
    ],
)
def test_wrong_feedback_is_named(service: Any, body: Any, reason: str) -> None:
    answer = service.ask("/feedback", body)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(reason)


def test_without_a_serving_state_the_service_says_why(serve: Any) -> None:
    service = serve("iris")
    assert service.ask("/healthz").status_code == 200
    assert service.ask("/startz").status_code == 200  # There is no model that requests would have to wait for.
    for answer in (service.ask("/readyz"), service.ask("/score", FLOWER), service.ask("/openapi.json")):
        assert answer.status_code == 503
        assert "iris/serving/prod.json" in answer.text


def test_metrics_count_answers_by_status(service: Any) -> None:
    service.ask("/score", FLOWER)
    service.ask("/score", {})
    service.ask("/nothing")
    lines = service.ask("/metrics").text.splitlines()
    labels = 'model="iris",environment="prod"'
    assert f'mlops_scoring_requests_total{{{labels},path="/score",status="200"}} 1' in lines
    assert f'mlops_scoring_requests_total{{{labels},path="/score",status="422"}} 1' in lines
    assert f'mlops_scoring_request_seconds_bucket{{{labels},le="+Inf"}} 2' in lines
    assert f'mlops_scoring_answers_total{{{labels},role="champion",version="1",status="200"}} 1' in lines
    assert f'mlops_scoring_answers_total{{{labels},role="champion",version="1",status="422"}} 1' in lines
    assert f'mlops_scoring_answer_seconds_count{{{labels},role="champion",version="1"}} 2' in lines
    assert f"mlops_scoring_generation{{{labels}}} 1" in lines
    assert f"mlops_scoring_log_dropped_rows_total{{{labels}}} 0" in lines
    assert not any("nothing" in line for line in lines)


def test_openapi_describes_the_models_own_fields(flights: Any) -> None:
    document = flights.ask("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    record = document["components"]["schemas"]["Record"]
    assert set(record["properties"]) == {"departure", "number", "origin", "carrier", "distance", "seats"}
    assert flights.ask("/score", record["examples"][0]).status_code == 200
    assert document["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert document["paths"]["/score"]["post"]["security"] == [{"key": []}]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_records = st.dictionaries(st.sampled_from([*FLIGHT, "seats", "\x00", ""]), _values, max_size=6).map(
    lambda changes: FLIGHT | changes
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A body that would be right, with some of its bytes cut out, doubled or replaced by any others."""
    body = json.dumps(draw(st.sampled_from([FLIGHT, [FLIGHT, FLIGHT]]))).encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 12)))
        body = body[:start] + draw(st.just(body[start:end] * 2) | st.binary(max_size=4)) + body[end:]
    return body


def test_no_body_makes_the_service_fail(flights: Any) -> None:
    right = (_values | _records | st.lists(_records, max_size=3)).map(json.dumps)

    @settings(max_examples=300, deadline=None)
    @given(body=st.binary(max_size=40) | _damaged() | right)
    def ask(body: bytes | str) -> None:
        for path in ("/score", "/feedback"):
            answer = flights.ask(path, body.encode() if isinstance(body, str) else body)
            assert answer.status_code in (200, 202, 400, 422)
            assert answer.status_code < 300 or answer.json()["error"]

    ask()
