"""Releases and rollbacks under a steady load: no request is lost, and state, alias and ledger agree."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mlops.adapters.scoring_client import read_key
from mlops.adapters.services import key_file
from tests.e2e.bad_models import failing, slow
from tests.e2e.iris import QUICK, Iris, outage, running_iris, under_load
from tests.e2e.kills import KILLS, kill_at
from tests.e2e.load import Load, check, check_log
from tests.e2e.state_folders import owned_processes, state_folder

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]
REQUESTS_PER_SECOND = 200


@pytest.fixture(scope="module")
def iris() -> Iterator[Iris]:
    with state_folder() as folder, running_iris(folder) as iris:
        yield iris


@pytest.fixture(scope="module")
def load(iris: Iris) -> Iterator[Load]:
    with under_load(iris, REQUESTS_PER_SECOND) as load:
        yield load


@pytest.fixture(autouse=True)
def nothing_is_lost(iris: Iris, load: Load) -> Iterator[None]:
    """Whatever a test does, each request is answered with 200 by the approved bundle that it names."""
    first = len(load.sent)
    iris.configure(QUICK)
    yield
    check(load.answered(first), iris.context.store, "iris", load.records)


def test_the_public_smoke_test_passes_on_uat(iris: Iris) -> None:
    """As hands-ons of this use case test a deployed web service, given its address and key."""
    url = iris.context.services.describe("iris", "uat").url
    headers = {"Authorization": f"Bearer {read_key(key_file(iris.settings, 'iris', 'uat'))}"}
    record = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}
    response = httpx.post(f"{url}/score", json=record, headers=headers, trust_env=False)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["Content-Length"]) > 0
    assert response.json()["output"]["predicted_species"] == "1"


def test_a_version_takes_over_by_shadow_and_canary(iris: Iris, load: Load) -> None:
    version = iris.make(2)
    run = iris.stack.finish("release/release", model="iris", version=version)
    assert (run["state_name"], iris.prod.champion.version) == ("Completed", version), run["state"]["message"]
    iris.agrees_on(version)
    steps = iris.told("release", version).numbers["steps"]
    assert [step["numbers"].get("share") for step in steps] == [None, 0.2, 0.5]
    assert all(step["decision"] == "go" for step in steps)
    assert steps[0]["numbers"]["compared"] >= 10
    assert all(step["numbers"]["requests"] >= 10 for step in steps[1:])
    # While the canary answered its share, the champion answered the rest.
    answered = [each.version for each in load.sent]
    first = answered.index(version)
    assert "1" in answered[first:]
    shown = {each["key"]: each for each in iris.stack.ask("/artifacts/filter", limit=200)}
    assert "as the shadow of version 1" in shown["iris-shadow"]["description"]


def test_a_rejected_version_answers_nobody(iris: Iris, load: Load) -> None:
    before, version = iris.prod, iris.make(3)
    iris.configure(QUICK | {"approval": {"prod": "required"}})
    run = iris.stack.start("release/release", model="iris", version=version)
    iris.stack.wait(lambda: iris.stack.state_of(run, "PAUSED"))
    # Prefect's worker ends when a run is resumed whose process has not ended yet: its slot is taken twice.
    iris.stack.wait(lambda: not flow_processes(iris, run))
    (form,) = iris.stack.ask("/artifacts/filter", artifacts={"key": {"any_": ["iris-release-evidence"]}})
    for told in (
        f"| metric | challenger {version} | champion 2",
        "version 2, approved by policy on",
        "golden record 2",
    ):
        assert told in form["data"]
    answer = {"decision": "reject", "approver": "tester", "comment": "not today"}
    assert iris.stack.ask(f"/flow_runs/{run}/resume", run_input=answer)["status"] == "ACCEPT"
    assert iris.stack.wait(lambda: iris.stack.ended(run))["state_name"] == "Rejected"
    assert iris.prod == before
    assert iris.told("release", version).reasons == ("by tester: not today",)
    assert version not in {each.version for each in load.sent}


def test_a_rollback_goes_to_the_release_before(iris: Iris) -> None:
    asked = {"model": "iris", "reason": "complaints", "by": "tester"}
    refused = iris.stack.finish("rollback/rollback", **asked, version="3")
    assert "version 3 of iris was never released; released were: 1, 2" in refused["state"]["message"]
    run = iris.stack.finish("rollback/rollback", **asked)
    assert run["state_name"] == "Completed", run["state"]["message"]
    iris.agrees_on("1")
    entry = iris.told("rollback", "1")
    assert (entry.actor, entry.reasons, entry.numbers["from_version"]) == ("tester", ("complaints",), "2")


def test_of_two_releases_at_once_one_wins_and_the_other_says_why(iris: Iris) -> None:
    versions = [iris.make(4), iris.make(5)]
    runs = [iris.stack.start("release/release", model="iris", version=version) for version in versions]
    ended = [iris.stack.wait(lambda run=run: iris.stack.ended(run)) for run in runs]
    assert sorted(run["state_name"] for run in ended) == ["Completed", "Refused"], [r["state"] for r in ended]
    (won,) = [version for version, run in zip(versions, ended, strict=True) if run["state_name"] == "Completed"]
    (lost,) = set(versions) - {won}
    iris.agrees_on(won)
    entry = iris.told("release", lost)
    assert entry.decision == "refused"
    assert any(word in entry.reasons[0] for word in ("changed", "holds prod")), entry.reasons


@pytest.mark.parametrize("end", ["killed", "cancelled"])
def test_after_a_release_ends_in_its_canary_the_watchdog_puts_the_champion_back(iris: Iris, end: str) -> None:
    """At once, by the automation, and not when the schedule comes round."""
    champion, left = iris.prod.champion, iris.make(6 if end == "killed" else 7)
    long = QUICK["canary"] | {"min_seconds": 60, "max_seconds": 60}
    iris.configure(QUICK | {"canary": long})
    run = iris.stack.start("release/release", model="iris", version=left)
    iris.stack.wait(lambda: iris.prod.canary, seconds=60)
    victims = flow_processes(iris, run)
    assert victims
    if end == "killed":
        for process in victims:
            process.kill()
    else:
        iris.stack.ask(f"/flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    final = {"killed": "CRASHED", "cancelled": "CANCELLED"}[end]
    iris.stack.wait(lambda: iris.stack.state_of(run, final), seconds=60)
    assert iris.prod.champion == champion

    iris.stack.wait(lambda: not iris.prod.canary, seconds=60)
    iris.agrees_on(champion.version)
    entry = iris.told("release", left)
    assert (entry.decision, entry.flow_run) == ("rolled back", run)
    assert final.capitalize() in entry.reasons[0]


def flow_processes(iris: Iris, run: str) -> list[psutil.Process]:
    """The processes that execute a flow run; not those that it started."""

    def executes(process: psutil.Process) -> bool:
        try:
            return process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect.engine" in process.cmdline()
        except psutil.Error:
            return False

    return [process for process in owned_processes(iris.stack.state) if executes(process)]


ALONE = {"shadow": {"seconds": 0}, "latency_ms": 5000}
"""Without a shadow, which would find a bad model before anyone is answered, and with a budget that lets a slow one into
PROD from a busy machine, too."""
LONG = QUICK["canary"] | {"min_seconds": 30, "max_seconds": 30}


def bad(kind: str, iris: Iris) -> tuple[str, dict[str, Any]]:
    """A version that is bad in PROD alone, and the policy under which it gets there."""
    if kind == "disagrees":
        return iris.make(8, labels={"0": "1", "1": "2", "2": "0"}), LONG
    if kind == "errs":
        return iris.make(9, change=failing(iris.context.spec)), LONG
    # By some 100 ms a request; a small share, since each answer takes that much of a core.
    return iris.make(10, change=slow(12)), LONG | {"steps": [0.03]}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("disagrees", "disagreement: the canary's classes"),
        ("errs", "errors: "),
        ("is slow", "latency: "),
    ],
)
def test_a_bad_canary_is_rolled_back_within_seconds(iris: Iris, load: Load, kind: str, reason: str) -> None:
    champion, first = iris.prod.champion.version, len(load.sent)
    version, canary = bad(kind, iris)
    iris.configure(QUICK | ALONE | {"canary": canary})
    run = iris.stack.finish("release/release", model="iris", version=version)
    ended = time.time()
    assert run["state_name"] == "Rolled back", run["state"]["message"]
    assert reason in run["state"]["message"]
    iris.agrees_on(champion)
    times = [each.time for each in load.answered(first) if each.version == version]
    assert times
    entry = iris.told("release", version)
    assert entry.decision == "rolled back"
    assert max(times) - min(times) <= entry.numbers["seconds_to_rollback"] < 10
    assert datetime.fromtimestamp(max(times), UTC) <= entry.time
    # From then on, the champion alone.
    iris.stack.wait(lambda: load.sent[-1].time > ended)
    assert {each.version for each in load.answered(first) if each.time > max(times)} == {champion}


def test_a_bad_version_does_not_get_past_the_shadow(iris: Iris, load: Load) -> None:
    champion, first = iris.prod.champion.version, len(load.sent)
    version = iris.make(11, labels={"0": "2", "1": "0", "2": "1"})
    run = iris.stack.finish("release/release", model="iris", version=version)
    assert run["state_name"] == "Rolled back", run["state"]["message"]
    iris.agrees_on(champion)
    assert version not in {each.version for each in load.answered(first)}


@pytest.mark.timeout(1200)  # 12 releases, each a process that imports Prefect: 170 s beside other work.
def test_a_release_killed_at_each_of_its_steps_is_mended_by_the_next(iris: Iris) -> None:
    for number, kill in enumerate(KILLS):
        kill_at(kill, iris, iris.make(20 + number))
    last = iris.make(40)
    iris.finish_by_hand("release", "--version", last)
    iris.agrees_on(last)
    entries = iris.context.ledger.entries("release")
    assert len({entry.flow_run for entry in entries}) == len(entries), "a release is told of once"


def test_keys_are_rotated_without_a_refused_request(iris: Iris, load: Load) -> None:
    file, old, new = key_file(iris.settings, "iris", "prod"), load.key, "a-new-key-for-the-rotation-of-this-test"
    replace(file, f"{new}\n{old}\n")
    load.key = new
    since = len(load.sent)
    iris.stack.wait(lambda: len(load.sent) > since + REQUESTS_PER_SECOND)
    load.answered()
    replace(file, f"{new}\n")
    asked = {"url": load.url, "json": load.records[0], "trust_env": False}
    iris.stack.wait(lambda: httpx.post(**asked, headers={"Authorization": f"Bearer {old}"}).status_code == 401, 30)
    assert httpx.post(**asked, headers={"Authorization": f"Bearer {new}"}).status_code == 200


def replace(file: Path, text: str) -> None:
    """Replace a file as a whole."""
    draft = file.with_name("draft")
    draft.write_text(text)
    draft.replace(file)


def test_an_outage_of_the_store_stops_no_answer_and_loses_no_row(iris: Iris, load: Load) -> None:
    """The rows of all tests are looked for here, so this is the last one."""
    champion, version = iris.prod.champion.version, iris.make(50)
    with iris.by_hand("release", "--version", version) as run:
        iris.stack.wait(lambda: iris.prod.shadow, 60)
        with outage(iris):
            since = len(load.sent)
            threading.Event().wait(5)  # The outage's length, and not for anything to happen.
            # On a busy machine that may be little; the flow tries again for 20 s.
            iris.stack.wait(lambda: len(load.sent) > since + REQUESTS_PER_SECOND, 10)
            load.answered(since)
        run.ends(0)
    assert champion != version
    iris.agrees_on(version)
    assert check_log(load.answered(), iris.context.store, "iris") > 0
