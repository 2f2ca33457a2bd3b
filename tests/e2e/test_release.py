"""Releases and rollbacks under a steady load: no request is lost, and state, alias and ledger agree."""

import io
import random
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pandas as pd
import psutil
import pytest
import yaml

from mlops import settings as settings_module
from mlops.adapters import bundles
from mlops.adapters.datasets import iris_csv
from mlops.adapters.ledger import Entry
from mlops.adapters.registry import CHAMPION
from mlops.adapters.scoring_client import ScoringClient, read_key
from mlops.adapters.services import key_file
from mlops.adapters.serving import read_state
from mlops.core import evaluation, training
from mlops.core.assembly import bundle_files
from mlops.core.serving import ServingState
from mlops.spec import load as load_spec
from tasks.context import ModelContext
from tests.e2e.ports import owned_processes, state_folder
from tests.e2e.stack import ROOT, Stack

pytestmark = pytest.mark.timeout(600)
REQUESTS_PER_SECOND = 50
QUICK = {
    "approval": {"prod": "automatic"},
    "shadow": {"seconds": 1},
    "canary": {"steps": [0.2, 0.5], "min_seconds": 1, "min_requests": 10, "max_seconds": 10},
}


class Sent(NamedTuple):
    """A request of the load: when (Unix seconds), and what came back."""

    time: float
    status: int
    version: str
    digest: str


class Load:
    """One client that asks PROD for iris, steadily, from a thread."""

    def __init__(self, url: str, key: str) -> None:
        self.sent: list[Sent] = []
        self.errors: list[str] = []
        self._rows = rows().drop(columns="Species").to_dict("records")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(url, key), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self, url: str, key: str) -> None:
        chosen, due = random.Random(5), time.monotonic()  # noqa: S311 - Flowers, not secrets.
        with ScoringClient(url, key, timeout=10) as client:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += 1 / REQUESTS_PER_SECOND
                # Most are setosa, so that a model with other labels answers other classes than the champion.
                row = self._rows[int(150 * chosen.random() ** 2.5)]
                began = time.time()
                try:
                    response = client.score(row, uuid.uuid4().hex)
                    model = response.json().get("model", {})
                    answer = Sent(began, response.status_code, model.get("version", ""), model.get("digest", ""))
                    self.sent.append(answer)
                except (httpx.HTTPError, ValueError) as error:
                    self.errors.append(f"{type(error).__name__}: {error}")


class Iris:
    """Iris on a stack of its own, whose versions are made by the test."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = settings_module.load(stack.variables)
        self.file = stack.home / "deployments" / "models" / "iris.yaml"
        self.configure(QUICK)
        self.context = ModelContext(self.settings, load_spec(self.settings.models_dir, "iris"))

    def configure(self, release: dict[str, Any]) -> None:
        """Change the spec's release policy; any labels are welcome."""
        told = yaml.safe_load((ROOT / "deployments" / "models" / "iris.yaml").read_text("utf-8"))
        golden = [{"record": each["record"]} for each in told["release"]["golden"]]
        self.file.write_text(yaml.safe_dump(told | {"release": release | {"golden": golden}}))

    def make(self, seed: int, labels: dict[str, str] | None = None) -> str:
        """Train, register and accept a version, on a part of the rows; its labels may be renamed."""
        context, spec = self.context, self.context.spec
        frame = rows()
        if labels:
            frame["Species"] = frame["Species"].map(labels)
        train, holdout = training.split(frame, spec)
        train = train.sample(frac=0.95, random_state=seed)
        candidate = spec.training.candidates[0]
        estimator = training.fit(candidate, spec, train)
        metrics = evaluation.evaluate(
            holdout["Species"], training.probabilities(estimator, holdout, spec.data), spec.data.target.classes
        )
        files = bundle_files(spec, f"seed-{seed}", candidate, estimator, train, holdout, metrics)
        digest = bundles.save(context.store, "iris", f"seed-{seed}", files)
        run = context.registry.log_run("iris", "made by the test", {}, {}, {})
        version = context.registry.register("iris", run, digest, f"seed-{seed}", {"card.md": files["card.md"]})
        context.ledger.record("gate", f"version-{version.version}", "accepted", numbers={"digest": digest})
        return version.version

    @property
    def prod(self) -> ServingState:
        found = read_state(self.context.store, "iris", "prod")
        assert found
        return found.state

    def told(self, kind: str, version: str) -> Entry:
        entry = self.context.ledger.newest(kind, version=version)
        assert entry, f"the ledger holds no {kind} of version {version}"
        return entry

    def agrees_on(self, version: str) -> None:
        """Assert that service, state, alias and ledger say that a version is the champion."""
        state, alias = self.prod, self.context.registry.alias("iris", CHAMPION)
        assert (state.champion.version, state.shadow, state.canary) == (version, None, None)
        assert alias
        assert (alias.version, alias.digest) == (version, state.champion.digest)
        entries = [e for e in self.context.ledger.entries() if e.kind in ("release", "rollback")]
        last = [e for e in entries if e.decision == "released" or e.kind == "rollback"][-1]
        assert last.numbers["version"] == version
        url = self.context.services.describe("iris", "prod").url
        assert httpx.get(f"{url}/readyz", trust_env=False).json()["generation"] == state.generation


def rows() -> pd.DataFrame:
    """Iris as a typed, labelled frame."""
    frame = pd.read_csv(io.BytesIO(iris_csv()))
    return frame.drop(columns="Id", errors="ignore").astype({"Species": str})


@pytest.fixture(scope="module")
def iris() -> Iterator[Iris]:
    with state_folder() as folder:
        yield from _iris(folder / "home", folder / "state")


def _iris(home: Path, state: Path) -> Iterator[Iris]:
    home.mkdir()
    for folder in ("mlops", "tasks", "flows", "deployments", "infra"):
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", home)
    stack = Stack(state, home)
    try:
        for command in (("deployments.local", "up"), ("deployments.apply",)):
            done = stack.run(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        iris = Iris(stack)
        assert stack.finish("release/release", model="iris", version=iris.make(1))["state_name"] == "Completed"
        yield iris
    finally:
        stack.run("deployments.local", "down")
        stack.api.close()


@pytest.fixture(scope="module")
def load(iris: Iris) -> Iterator[Load]:
    url = iris.context.services.describe("iris", "prod").url
    load = Load(url, read_key(key_file(iris.settings, "iris", "prod")))
    yield load
    load.close()


@pytest.fixture(autouse=True)
def nothing_is_lost(iris: Iris, load: Load) -> Iterator[None]:
    """Whatever a test does, each request is answered with 200 by an approved bundle that it names."""
    first = len(load.sent)
    iris.configure(QUICK)
    yield
    sent = load.sent[first:]
    assert load.errors == []
    assert {each.status for each in sent} <= {200}
    approved = {
        (entry.numbers["version"], entry.numbers["digest"]): entry.time.timestamp()
        for entry in reversed(iris.context.ledger.entries("approval"))
        if entry.decision == "approve"
    }
    assert all(approved[each.version, each.digest] < each.time + 1 for each in sent)


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
    assert any(word in entry.reasons[0] for word in ("changed", "holds prod", "smoke test")), entry.reasons


def test_after_a_kill_in_the_canary_the_next_release_mends_and_goes_on(iris: Iris) -> None:
    champion, left, version = iris.prod.champion, iris.make(6), iris.make(7)
    long = QUICK["canary"] | {"min_seconds": 60, "max_seconds": 60}
    iris.configure(QUICK | {"canary": long})
    run = iris.stack.start("release/release", model="iris", version=left)
    iris.stack.wait(lambda: iris.prod.canary, seconds=60)
    victims = flow_processes(iris, run)
    assert victims
    for process in victims:
        process.kill()
    iris.stack.wait(lambda: iris.stack.state_of(run, "CRASHED"), seconds=30)
    assert iris.prod.canary
    assert iris.prod.champion == champion

    iris.configure(QUICK)
    again = iris.stack.finish("release/release", model="iris", version=version)
    assert again["state_name"] == "Completed", again["state"]["message"]
    iris.agrees_on(version)
    entry = iris.told("release", left)
    assert (entry.decision, entry.flow_run) == ("rolled back", run)
    assert "Crashed" in entry.reasons[0]


def flow_processes(iris: Iris, run: str) -> list[psutil.Process]:
    """The processes that execute a flow run; not those that it started."""

    def executes(process: psutil.Process) -> bool:
        try:
            return process.environ().get("PREFECT__FLOW_RUN_ID") == run and "prefect.engine" in process.cmdline()
        except psutil.Error:
            return False

    return [process for process in owned_processes(iris.stack.state) if executes(process)]


def test_a_bad_canary_is_rolled_back_within_seconds(iris: Iris, load: Load) -> None:
    champion, first = iris.prod.champion.version, len(load.sent)
    bad = iris.make(8, labels={"0": "1", "1": "2", "2": "0"})
    # Without a shadow, which would find it before anyone is answered.
    iris.configure(
        QUICK | {"shadow": {"seconds": 0}, "canary": QUICK["canary"] | {"min_seconds": 30, "max_seconds": 30}}
    )
    run = iris.stack.finish("release/release", model="iris", version=bad)
    ended = time.time()
    assert run["state_name"] == "Rolled back", run["state"]["message"]
    assert "disagreement: the canary's classes" in run["state"]["message"]
    iris.agrees_on(champion)
    times = [each.time for each in load.sent[first:] if each.version == bad]
    assert times
    assert max(times) - min(times) < 10
    entry = iris.told("release", bad)
    assert entry.decision == "rolled back"
    assert max(times) - min(times) <= entry.numbers["seconds_to_rollback"] < 10
    assert datetime.fromtimestamp(max(times), UTC) <= entry.time
    # From then on, the champion alone.
    iris.stack.wait(lambda: load.sent[-1].time > ended)
    assert {each.version for each in load.sent if each.time > max(times)} == {champion}


def test_a_bad_version_does_not_get_past_the_shadow(iris: Iris, load: Load) -> None:
    champion = iris.prod.champion.version
    bad = iris.make(9, labels={"0": "2", "1": "0", "2": "1"})
    run = iris.stack.finish("release/release", model="iris", version=bad)
    assert run["state_name"] == "Rolled back", run["state"]["message"]
    iris.agrees_on(champion)
    assert bad not in {each.version for each in load.sent}
    assert len(load.sent) > 20 * REQUESTS_PER_SECOND
