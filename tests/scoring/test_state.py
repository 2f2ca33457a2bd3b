"""A service follows the serving state: whole generations, checked before they answer."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops.adapters import bundles
from mlops.adapters.prediction_log import read_predictions
from mlops.adapters.store import FolderStore
from mlops.core.bundle import ServedModel
from mlops.core.serving import state_key
from tests.waiting import eventually

FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
Files = dict[str, bytes]


def with_model(files: Files, **changes: Any) -> Files:
    """Change a bundle's model.json."""
    about = msgspec.json.decode(files["model.json"], type=ServedModel)
    return files | {"model.json": msgspec.json.encode(msgspec.structs.replace(about, **changes))}


def test_a_new_generation_answers_without_a_restart(publish: Any, serve: Any, iris: Files, stump: Files) -> None:
    first = publish(1, iris)
    service = serve("iris")
    assert service.ask("/score", FLOWER).json()["model"]["digest"] == first.champion.digest
    second = publish(2, stump)
    service.serving.poll()
    report = service.ask("/readyz").json()
    assert (report["status"], report["generation"], report["error"]) == ("ready", 2, None)
    assert report["champion"] == {"digest": second.champion.digest, "version": "1"}
    assert service.ask("/score", FLOWER).json()["model"]["digest"] == second.champion.digest


def test_an_altered_bundle_never_answers(
    publish: Any, serve: Any, store: FolderStore, iris: Files, stump: Files
) -> None:
    publish(1, iris)
    service = serve("iris")
    state = publish(2, stump)
    store.put(f"iris/bundles/{state.champion.digest}/model.onnx", iris["model.onnx"])
    service.serving.poll()
    report = service.ask("/readyz")
    assert (report.status_code, report.json()["generation"]) == (200, 1)
    assert report.json()["error"]["generation"] == 2
    assert report.json()["error"]["transient"] is False
    assert "altered" in report.json()["error"]["reason"]
    assert service.ask("/score", FLOWER).status_code == 200


def wrong_golden(files: Files) -> Files:
    about = msgspec.json.decode(files["model.json"], type=ServedModel)
    return with_model(files, golden=(msgspec.structs.replace(about.golden[0], probabilities=(0.9, 0.1, 0.0)),))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (wrong_golden, "golden record"),
        (lambda files: with_model(files, layout="columns"), "has the inputs ['features']"),
        (lambda files: with_model(files, layout="rows"), "unknown layout 'rows'"),
        (lambda files: with_model(files, format="pickle"), "unknown format 'pickle'"),
        (lambda files: files | {"model.onnx": b"not a model"}, "Protobuf"),
        (lambda files: {"model.json": files["model.json"]}, "has no file 'model.onnx'"),
        (lambda files: files | {"model.json": b'{"model": "iris"}'}, "missing required field"),
    ],
)
def test_a_bundle_that_cannot_serve_is_refused_with_the_reason(
    publish: Any, serve: Any, iris: Files, change: Any, reason: str
) -> None:
    publish(1, change(iris))
    service = serve("iris")
    report = service.ask("/readyz")
    assert report.status_code == 503
    assert report.json()["champion"] is None
    assert reason in report.json()["error"]["reason"]


def test_another_models_bundle_is_refused(serve: Any, store: FolderStore, iris: Files) -> None:
    digest = bundles.save(store, "mixed", "a-snapshot", iris)
    state = {"generation": 1, "champion": {"digest": digest, "version": "1"}}
    store.put(state_key("mixed", "prod"), json.dumps(state).encode())
    assert "is one of model 'iris'" in serve("mixed").ask("/readyz").json()["error"]["reason"]


def test_a_state_that_failed_is_tried_again(publish: Any, serve: Any, store: FolderStore, iris: Files) -> None:
    state = publish(1, iris)
    key = f"iris/bundles/{state.champion.digest}/model.onnx"
    store.delete(key)
    service = serve("iris")
    # No requests come to a pod that has nothing to answer them with: the one before it stays.
    assert [service.ask(path).status_code for path in ("/readyz", "/startz", "/healthz")] == [503, 503, 200]
    store.put(key, iris["model.onnx"])
    service.serving.start()
    assert eventually(lambda: service.ask("/readyz").status_code == 200)
    assert service.ask("/startz").json()["status"] == "started"
    assert service.ask("/readyz").json()["error"] is None
    service.serving.close()


def test_the_state_serves_on_when_the_store_fails(
    publish: Any, serve: Any, store: FolderStore, iris: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1, iris)
    service = serve("iris")

    def fail(_: str) -> str:
        raise OSError("the store is away")

    monkeypatch.setattr(store, "etag", fail)
    service.serving.poll()
    report = service.ask("/readyz")
    assert (report.status_code, report.json()["error"]["reason"]) == (200, "OSError: the store is away")
    assert service.ask("/startz").status_code == 200
    assert service.ask("/score", FLOWER).status_code == 200


def test_a_store_that_fails_while_a_bundle_is_read_is_no_fault_of_the_bundle(
    publish: Any, serve: Any, store: FolderStore, iris: Files, stump: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1, iris)
    service, read = serve("iris"), store.get
    second = publish(2, stump)

    def fail(key: str) -> bytes:
        if key.endswith("model.onnx"):
            raise OSError("the store is away")
        return read(key)

    monkeypatch.setattr(store, "get", fail)
    service.serving.poll()
    problem = service.ask("/readyz").json()["error"]
    assert problem == {"generation": 2, "reason": "OSError: the store is away", "transient": True}
    monkeypatch.setattr(store, "get", read)
    service.serving.start()
    assert eventually(lambda: service.ask("/readyz").json()["generation"] == 2)
    assert service.ask("/readyz").json()["champion"]["digest"] == second.champion.digest
    service.serving.close()


def test_the_shadow_is_logged_and_never_answers(
    publish: Any, serve: Any, store: FolderStore, iris: Files, stump: Files
) -> None:
    state = publish(1, iris, shadow=stump)
    service = serve("iris")
    answer = service.ask("/score", FLOWER, x_request_id="seen").json()
    assert answer["model"]["digest"] == state.champion.digest
    service.close()
    log = {row["_role"]: row for row in read_predictions(store, "iris", "prod").to_pylist()}
    assert set(log) == {"champion", "shadow"}
    assert (log["shadow"]["_request_id"], log["shadow"]["_version"]) == ("seen", "2")
    assert log["shadow"]["_digest"] == state.shadow.digest
    assert log["shadow"]["_probabilities"] != log["champion"]["_probabilities"]
    assert log["shadow"]["PetalWidthCm"] == 1.4


def test_the_canary_answers_its_share_and_the_same_requests_again(
    publish: Any, serve: Any, iris: Files, stump: Files
) -> None:
    publish(1, iris, canary=stump, share=0.3)
    service = serve("iris")
    ids = [f"request-{i}" for i in range(300)]
    versions = [service.ask("/score", FLOWER, x_request_id=each).json()["model"]["version"] for each in ids]
    assert 60 <= versions.count("3") <= 120  # 90 expected, 7.9 standard deviation
    assert versions.count("1") == 300 - versions.count("3")
    again = [service.ask("/score", FLOWER, x_request_id=each).json()["model"]["version"] for each in ids[:50]]
    assert again == versions[:50]


def test_a_canary_on_its_way_up_is_not_loaded_twice(publish: Any, serve: Any, iris: Files, stump: Files) -> None:
    publish(1, iris, canary=stump, share=0.5)
    service = serve("iris")
    canary = service.serving.current.canary
    publish(2, stump)
    service.serving.poll()
    assert service.serving.current.champion is canary
    assert service.serving.current.canary is None


def test_a_pickled_model_answers_like_its_onnx_form(publish: Any, serve: Any, mixed: Files, pickled: Files) -> None:
    record = {"departure": "2013-02-20T12:00:00Z", "origin": "JFK", "carrier": "UA", "distance": 1500}
    answers = []
    for generation, files in enumerate((mixed, pickled), 1):
        publish(generation, files)
        answers.append(serve("mixed").ask("/score", [record, record | {"carrier": None, "seats": 50}]).json())
    for one, other in zip(*(answer["probabilities"] for answer in answers), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def fail(service: Any, *roles: str) -> None:
    """Let the models of these roles raise."""

    def broken(_: Any) -> None:
        raise RuntimeError("out of order")

    for role in roles:
        getattr(service.serving.current, role)._predict = broken


def counted(service: Any) -> dict[str, int]:
    """The answers by role and status."""
    found = re.findall(r'answers_total{.*role="(\w+)",.*status="(\d+)"} (\d+)', service.ask("/metrics").text)
    return {f"{role} {status}": int(count) for role, status, count in found}


def test_the_champion_answers_for_a_canary_that_fails(
    publish: Any, serve: Any, store: FolderStore, iris: Files, stump: Files
) -> None:
    state = publish(1, iris, canary=stump, share=1.0)
    service = serve("iris")
    fail(service, "canary")
    answer = service.ask("/score", FLOWER, x_request_id="saved")
    assert (answer.status_code, answer.json()["model"]["digest"]) == (200, state.champion.digest)
    assert counted(service) == {"canary 500": 1, "champion 200": 1}
    service.close()
    (row,) = read_predictions(store, "iris", "prod").to_pylist()
    assert (row["_request_id"], row["_role"], row["_version"]) == ("saved", "champion", "1")


def test_a_canary_that_refuses_what_the_champion_answers_has_failed(
    publish: Any, serve: Any, iris: Files, stump: Files
) -> None:
    about = msgspec.json.decode(stump["model.json"], type=ServedModel)
    narrow = msgspec.structs.replace(about.data.columns[0], max=1)
    schema = msgspec.structs.replace(about.data, columns=(narrow, *about.data.columns[1:]))
    publish(1, iris, canary=with_model(stump, data=schema, golden=()), share=1.0)
    service = serve("iris")
    assert service.ask("/score", FLOWER).json()["model"]["version"] == "1"
    assert service.ask("/score", FLOWER | {"PetalWidthCm": "x"}).status_code == 422
    assert counted(service) == {"canary 422": 1, "canary 500": 1, "champion 200": 1}


def test_a_canary_that_hangs_costs_half_the_time_and_no_answer(
    publish: Any, serve: Any, iris: Files, stump: Files
) -> None:
    publish(1, iris, canary=stump, share=1.0)
    service, release = serve("iris", seconds=0.2), threading.Event()
    canary = service.serving.current.canary
    working = canary._predict
    canary._predict = lambda rows: working(rows) if release.wait(20) else None
    answer = service.ask("/score", FLOWER)
    release.set()
    assert (answer.status_code, answer.json()["model"]["version"]) == (200, "1")
    assert counted(service) == {"canary 500": 1, "champion 200": 1}


def test_when_both_fail_the_caller_is_told(publish: Any, serve: Any, iris: Files, stump: Files) -> None:
    publish(1, iris, canary=stump, share=1.0)
    service = serve("iris")
    fail(service, "canary", "champion")
    answer = service.ask("/score", FLOWER)
    assert (answer.status_code, "RuntimeError" in answer.json()["error"]) == (500, True)
    assert counted(service) == {"canary 500": 1, "champion 500": 1}


def shadowed(service: Any) -> dict[str, int]:
    """The shadow's rows by result."""
    found = re.findall(r'shadow_total{.*version="2",result="(\w+)"} (\d+)', service.ask("/metrics").text)
    return {result: int(rows) for result, rows in found}


def test_the_shadows_agreement_is_counted_in_rows(publish: Any, serve: Any, iris: Files, stump: Files) -> None:
    publish(1, iris, shadow=stump)
    service = serve("iris")
    virginica = {"SepalLengthCm": 6.3, "SepalWidthCm": 3.3, "PetalLengthCm": 6.0, "PetalWidthCm": 2.5}
    setosa = {"SepalLengthCm": 5.1, "SepalWidthCm": 3.5, "PetalLengthCm": 1.4, "PetalWidthCm": 0.2}
    records = [FLOWER, virginica, setosa]
    answers = [service.ask("/score", record).json() for record in records]
    stumped = service.serving.current.shadow
    rows = stumped.reader.check(records, 3).rows
    expected = [answer["output"]["predicted_species"] for answer in answers]
    same = sum(one == other for one, other in zip(expected, stumped.predict(rows)[0], strict=True))
    assert 0 < same < 3
    assert eventually(lambda: shadowed(service) == {"agree": same, "disagree": 3 - same})
    fail(service, "shadow")
    assert service.ask("/score", records).status_code == 200
    assert eventually(lambda: shadowed(service).get("error") == 3)


def test_a_shadow_that_falls_behind_skips(
    publish: Any, serve: Any, iris: Files, stump: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(1, iris, shadow=stump)
    service, release = serve("iris"), threading.Event()
    monkeypatch.setattr("mlops.scoring.shadow.MOST_WAITING", 2)
    shadow = service.serving.current.shadow
    working = shadow._predict
    shadow._predict = lambda rows: working(rows) if release.wait(20) else None
    for _ in range(3):
        service.ask("/score", [FLOWER] * 2)
    assert shadowed(service)["skipped"] == 4
    release.set()


class Away(FolderStore):
    """A store whose every call fails while ``away``."""

    away = True

    def etag(self, key: str) -> str | None:
        if self.away:
            raise OSError("the store is away")
        return super().etag(key)


def test_a_service_starts_from_disk_while_the_store_is_away(
    publish: Any, serve: Any, store: FolderStore, iris: Files, stump: Files
) -> None:
    first = publish(1, iris, shadow=stump)
    serve("iris").close()
    away = Away(store.root)
    service = serve("iris", at=away)
    report = service.ask("/readyz").json()
    assert (report["status"], report["source"], report["generation"]) == ("ready", "cache", 1)
    assert report["error"]["reason"] == "OSError: the store is away"
    assert report["shadow"]["digest"] == first.shadow.digest
    assert "mlops_scoring_from_cache{" in service.ask("/metrics").text
    assert service.ask("/score", FLOWER).json()["model"]["digest"] == first.champion.digest
    second = publish(2, stump)
    away.away = False
    service.serving.poll()
    report = service.ask("/readyz").json()
    assert (report["source"], report["error"], report["champion"]["digest"]) == ("store", None, second.champion.digest)


def test_a_damaged_cache_is_not_served(
    publish: Any, serve: Any, store: FolderStore, state_dir: Path, iris: Files
) -> None:
    publish(1, iris)
    serve("iris")
    (kept,) = state_dir.glob("cache/iris/bundles/*/model.onnx")
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    service = serve("iris", at=Away(store.root))
    assert [service.ask(path).status_code for path in ("/readyz", "/startz")] == [503, 503]


def test_only_the_bundles_that_serve_are_kept_on_disk(
    publish: Any, serve: Any, state_dir: Path, iris: Files, stump: Files
) -> None:
    publish(1, iris)
    service = serve("iris")
    state = publish(2, stump)
    service.serving.poll()
    assert [folder.name for folder in state_dir.glob("cache/iris/bundles/*")] == [state.champion.digest]


def test_a_damaged_newest_generation_leaves_the_one_on_disk(
    publish: Any, serve: Any, store: FolderStore, iris: Files, stump: Files
) -> None:
    first = publish(1, iris)
    serve("iris").close()
    state = publish(2, stump)
    store.put(f"iris/bundles/{state.champion.digest}/model.onnx", b"x")
    report = serve("iris").ask("/readyz").json()
    assert (report["status"], report["source"]) == ("ready", "cache")
    assert report["champion"]["digest"] == first.champion.digest
    assert "altered" in report["error"]["reason"]
