"""A release step by step: judged, rolled back, overtaken, killed and mended."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import tasks.evidence
import tasks.mend
import tasks.release
import tasks.rollback
import tasks.rollout
from mlops.adapters.registry import CHALLENGER, CHAMPION, Version
from mlops.adapters.serving import Found, read_state, write_state
from mlops.core.serving import Served, champion_before
from mlops.core.smoke import Check
from mlops.spec import Approval, Canary, Release, Shadow
from tasks.context import ModelContext, open_model
from tasks.evidence import approval_policy
from tasks.mend import mend
from tasks.network import Refused
from tasks.release import check_approval, name_champion, put_back, record_release, serve
from tasks.rollback import find_target, go_back, record_rollback
from tasks.rollout import run_canary, run_shadow
from tasks.runs import Run
from tests.fakes.registry import FakeRegistry
from tests.fakes.services import FakeServices

FIRST, OURS, OTHER = "run-first", "run-ours", "run-other"
QUICK = Release(
    shadow=Shadow(seconds=0.05),
    canary=Canary(steps=(0.1,), min_seconds=0.0, min_requests=20, max_seconds=0.1),
)
MODULES = (tasks.evidence, tasks.mend, tasks.release, tasks.rollback, tasks.rollout)


class World:
    """A model with versions 1 (released), 2 and 3, whose flow run, services and Prefect are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = open_model("iris")
        self.context = dataclasses.replace(opened, spec=msgspec.structs.replace(opened.spec, release=QUICK))
        self.services = FakeServices(self.context.store)
        self.run = OURS
        self.alive: set[str] = set()
        self.tables: list[dict[str, Any]] = []
        self.checks = [Check("golden record 1", True, "answered", 0.01)]
        registry = FakeRegistry()
        vars(self.context).update(registry=registry, services=self.services)
        self.versions = [registry.register("iris", "run", f"digest-{n}", "snapshot", {}) for n in (1, 2, 3)]
        for version in self.versions:
            self.context.ledger.record("gate", version.version, "accepted", numbers={"digest": version.digest})
        for module in MODULES:
            for name, value in {
                "open_model": self.open,
                "current_flow_run": lambda: self.run,
                "describe_run": self.describe_run,
                "ask_service": lambda *_: self.checks,
                "create_table_artifact": lambda **told: self.tables.append(told),
            }.items():
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(tasks.rollout, "POLL_SECONDS", 0.02)
        self.release_as(FIRST, self.versions[0])

    def open(self, model: str) -> ModelContext:
        assert model == "iris"
        return self.context

    def describe_run(self, run: str) -> Run:
        alive = run in self.alive
        return Run(run, "release iris", "Running" if alive else "Crashed", alive)

    def policy(self, **changed: Any) -> None:
        release = msgspec.structs.replace(QUICK, **changed)
        spec = msgspec.structs.replace(self.context.spec, release=release)
        opened = dict(vars(self.context))
        self.context = dataclasses.replace(self.context, spec=spec)
        vars(self.context).update({name: value for name, value in opened.items() if name not in ("spec", "settings")})

    def release_as(self, run: str, version: Version) -> Found:
        """What a whole release by a run leaves."""
        kept, self.run = self.run, run
        written = self.write(version, run)
        record_release.fn("iris", version, "released", ["approved"], {})
        name_champion.fn("iris")
        self.run = kept
        return written

    def write(self, version: Version, run: str, environment: str = "prod", **roles: Any) -> Found:
        before = read_state(self.context.store, "iris", environment)
        return write_state(self.context.store, "iris", environment, served(version), run, before, **roles)

    @property
    def prod(self) -> Found:
        found = read_state(self.context.store, "iris", "prod")
        assert found
        return found

    def count(self, canary: dict[int, int], champion: dict[int, int], **shadow: int) -> None:
        """Let the service count so many answers by status from the first look to the second."""
        looks = iter(range(10**9))

        def text() -> str:
            if next(looks) == 0:
                return ""
            lines = []
            for role, version, counts in (("canary", "2", canary), ("champion", "1", champion)):
                for status, number in counts.items():
                    labels = f'model="iris",environment="prod",role="{role}",version="{version}",status="{status}"'
                    lines.append(f"mlops_scoring_answers_total{{{labels}}} {number}")
            for result, number in shadow.items():
                lines.append(f'mlops_scoring_shadow_total{{model="iris",version="2",result="{result}"}} {number}')
            return "\n".join([*lines, "mlops_scoring_generation 1"])

        self.services.metrics = text

    def agrees_on(self, version: Version) -> None:
        state = self.prod.state
        assert (state.champion, state.shadow, state.canary) == (served(version), None, None)
        assert self.context.registry.alias("iris", CHAMPION) == version

    def told(self, version: Version, run: str, kind: str = "release") -> str:
        entry = self.context.ledger.find(kind, f"version-{version.version}-{run}")
        return f"{entry.decision}: {'; '.join(entry.reasons)}" if entry else ""


def served(version: Version) -> Served:
    return Served(version.digest, version.version)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.services.close()


def test_shadow_canary_and_all_requests_are_one_generation_each(world: World) -> None:
    before, two = world.prod, world.versions[1]
    world.count({200: 30}, {200: 90}, agree=50)
    verdict = run_shadow.fn("iris", two, before)
    assert verdict.decision == "go"
    assert verdict.numbers["compared"] == 50
    assert (world.prod.state.shadow, world.prod.state.canary) == (served(two), None)
    assert "version 2 as the shadow of version 1" in world.tables[0]["description"]

    world.count({200: 30}, {200: 90}, agree=50)
    verdict = run_canary.fn("iris", two, before, 0.1)
    assert (verdict.decision, verdict.numbers["share"]) == ("go", 0.1)
    state = world.prod.state
    assert (state.champion, state.canary, state.canary_share) == (before.state.champion, served(two), 0.1)
    assert state.release == OURS

    assert serve.fn("iris", "prod", two, before) == before.state.generation + 3
    assert serve.fn("iris", "prod", two, before) == before.state.generation + 3, "another try changes nothing"
    name_champion.fn("iris")
    world.agrees_on(two)
    assert world.context.registry.alias("iris", CHALLENGER) is None


def test_a_step_that_is_tried_again_keeps_its_generation(world: World) -> None:
    before, two = world.prod, world.versions[1]
    for _ in range(2):
        world.count({200: 30}, {200: 90})
        assert run_canary.fn("iris", two, before, 0.1).decision == "go"
    assert world.prod.state.generation == before.state.generation + 1


def test_a_failing_canary_is_judged_and_put_back(world: World) -> None:
    before, two = world.prod, world.versions[1]
    world.count({200: 5, 500: 9}, {200: 90})
    verdict = run_canary.fn("iris", two, before, 0.1)
    assert verdict.decision == "roll_back"
    assert "failed 9 of 14 answers" in verdict.reasons[0]
    put_back.fn("iris", "prod", before)
    world.agrees_on(world.versions[0])
    assert world.prod.state.generation == before.state.generation + 2
    assert world.prod.state.release == FIRST


@pytest.mark.parametrize(("quiet", "decision"), [("continue", "go"), ("roll_back", "roll_back")])
def test_an_idle_service_ends_a_step_by_the_rule(world: World, quiet: Any, decision: str) -> None:
    world.policy(canary=msgspec.structs.replace(QUICK.canary, quiet=quiet))
    world.count({}, {})
    verdict = run_canary.fn("iris", world.versions[1], world.prod, 0.1)
    assert verdict.decision == decision
    assert "only 0 of 20 requests in 0.1 s" in verdict.reasons[-1]


def test_a_restart_in_a_step_counts_from_zero(world: World) -> None:
    world.policy(canary=msgspec.structs.replace(QUICK.canary, max_seconds=10))
    numbers = iter([90, 100, 3, 25])  # Before the step, then in it: 10 answers, a restart, 25 answers.

    def text() -> str:
        labels = 'role="canary",version="2",status="200"'
        return f"mlops_scoring_answers_total{{{labels}}} {next(numbers)}"

    world.services.metrics = text
    verdict = run_canary.fn("iris", world.versions[1], world.prod, 0.1)
    assert (verdict.decision, verdict.numbers["requests"]) == ("go", 25)


def test_a_service_that_does_not_answer_is_rolled_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.rollout, "UNREACHABLE_SECONDS", 0.1)
    world.services.metrics = lambda: ""
    verdict = run_canary.fn("iris", world.versions[1], world.prod, 0.1)
    assert verdict.decision == "roll_back"
    assert "has not answered" in verdict.reasons[0]


def test_a_change_by_another_run_ends_the_step_and_stays(world: World) -> None:
    before, (_, two, three) = world.prod, world.versions

    def text() -> str:
        if world.prod.state.canary:
            world.write(three, OTHER)
        return "mlops_scoring_generation 1"

    world.services.metrics = text
    with pytest.raises(Refused, match=rf"flow run {OTHER} changed prod \(generation 3, version 3\)"):
        run_canary.fn("iris", two, before, 0.1)
    put_back.fn("iris", "prod", before)
    assert world.prod.state.champion == served(three)


@pytest.mark.parametrize("step", ["shadow", "canary", "all"])
def test_of_two_releases_the_second_to_write_is_refused(world: World, step: str) -> None:
    before, (_, two, three) = world.prod, world.versions
    world.write(world.versions[0], OTHER, canary=served(three), share=0.1)
    theirs = world.prod
    steps: dict[str, Callable[[], object]] = {
        "shadow": lambda: run_shadow.fn("iris", two, before),
        "canary": lambda: run_canary.fn("iris", two, before, 0.1),
        "all": lambda: serve.fn("iris", "prod", two, before),
    }
    with pytest.raises(Refused, match=f"flow run {OTHER} changed prod"):
        steps[step]()
    put_back.fn("iris", "prod", before)
    assert world.prod == theirs


def test_a_version_that_does_not_load_leaves_the_champion(world: World) -> None:
    world.services.unloadable = {"digest-2"}
    with pytest.raises(Refused, match="a golden record is answered otherwise; prod is as it was"):
        run_canary.fn("iris", world.versions[1], world.prod, 0.1)
    world.agrees_on(world.versions[0])


@pytest.mark.parametrize("role", ["shadow", "canary"])
def test_a_dead_releases_trial_is_put_back(world: World, role: str) -> None:
    one, two, _ = world.versions
    trial: dict[str, Any] = {"canary": {"canary": served(two), "share": 0.1}, "shadow": {"shadow": served(two)}}[role]
    world.write(one, OTHER, **trial)
    generation = world.prod.state.generation
    assert mend.fn("iris").holder == ""
    world.agrees_on(one)
    assert (world.prod.state.generation, world.prod.state.release) == (generation + 1, FIRST)
    assert f"left version 2 as the {role}" in world.told(two, OTHER)
    assert "Crashed" in world.told(two, OTHER)
    mended = world.prod
    mend.fn("iris")
    assert world.prod == mended


@pytest.mark.parametrize("writer", [OTHER, OURS])
def test_a_living_releases_trial_is_left_alone(world: World, writer: str) -> None:
    world.alive = {OTHER}
    held = world.write(world.versions[0], writer, canary=served(world.versions[1]), share=0.1)
    holder = mend.fn("iris").holder
    assert holder.startswith(f"flow run release iris ({OTHER}), which is Running, holds prod") == (writer == OTHER)
    assert world.prod == held


def test_a_release_that_died_before_its_entry_gets_one(world: World) -> None:
    two = world.versions[1]
    world.context.registry.set_alias("iris", CHALLENGER, "2")
    world.write(two, OTHER)
    assert mend.fn("iris").released == served(two)
    world.agrees_on(two)
    assert world.context.registry.alias("iris", CHALLENGER) is None
    assert world.told(two, OTHER).startswith("released: written by a later run")
    assert mend.fn("iris").released is None


def test_a_release_that_died_unverified_and_fails_is_rolled_back(world: World) -> None:
    one, two, _ = world.versions
    world.checks = [Check("golden record 1", False, "answered '2'", 0.01)]
    world.write(two, OTHER)
    assert mend.fn("iris").released is None
    world.agrees_on(one)
    assert world.told(two, OTHER).startswith("rolled back")
    assert "golden record 1: answered '2'" in world.told(two, OTHER)


def test_a_release_that_died_in_uat_is_told_once_it_is_dead(world: World) -> None:
    two = world.versions[1]
    world.write(two, OTHER, "uat")
    world.alive = {OTHER}
    mend.fn("iris")
    assert world.told(two, OTHER) == ""
    world.alive = set()
    mend.fn("iris")
    assert world.told(two, OTHER).startswith("refused: flow run release iris")


def test_aliases_are_mended_from_the_state(world: World) -> None:
    world.context.registry.set_alias("iris", CHAMPION, "3")
    mend.fn("iris")
    world.agrees_on(world.versions[0])


def test_an_approval_is_void_once_a_newer_challenger_or_another_champion_is_there(world: World) -> None:
    before, (_, two, three) = world.prod, world.versions
    registry = world.context.registry
    registry.set_alias("iris", CHALLENGER, "2")
    check_approval.fn("iris", two, two, before)
    registry.set_alias("iris", CHALLENGER, "3")
    check_approval.fn("iris", two, three, before)
    with pytest.raises(Refused, match="version 3 became the challenger while version 2 was waiting"):
        check_approval.fn("iris", two, two, before)
    registry.set_alias("iris", CHALLENGER, "2")
    world.context.ledger.record("gate", "again", "refused", numbers={"digest": two.digest})
    with pytest.raises(Refused, match="no longer accepts"):
        check_approval.fn("iris", two, two, before)
    world.release_as(OTHER, three)
    with pytest.raises(Refused, match=f"flow run {OTHER} changed prod"):
        check_approval.fn("iris", two, two, before)


def test_the_policy_asks_a_person_after_a_data_incident(world: World) -> None:
    assert approval_policy.fn("iris", "prod")[0]
    assert not approval_policy.fn("iris", "uat")[0]
    world.policy(approval=Approval(prod="automatic"))
    assert not approval_policy.fn("iris", "prod")[0]
    world.context.ledger.record("verdict", "prod-2026", "data_incident")
    assert approval_policy.fn("iris", "prod") == (True, "the newest verdict, on prod-2026, is a data incident")


def test_a_rollback_goes_to_the_release_before_or_to_a_named_one(world: World) -> None:
    one, two, three = world.versions
    world.release_as("run-2", two)
    world.release_as("run-3", three)
    assert find_target.fn("iris", "prod", None).version == served(two)
    assert find_target.fn("iris", "prod", "1").version == served(one)
    target = find_target.fn("iris", "prod", None)
    generation = go_back.fn("iris", "prod", target)
    assert go_back.fn("iris", "prod", target) == generation
    record_rollback.fn("iris", "prod", target, "complaints", "me", {"generation": generation})
    name_champion.fn("iris")
    world.agrees_on(two)
    assert world.told(two, OURS, "rollback") == "rolled back: complaints"
    mend.fn("iris")
    world.agrees_on(two)
    assert find_target.fn("iris", "prod", None).version == served(one)


def test_a_rollback_ends_a_living_canary(world: World) -> None:
    one, two, three = world.versions
    world.release_as("run-2", two)
    world.alive = {OTHER}
    world.write(two, OTHER, canary=served(three), share=0.5)
    target = find_target.fn("iris", "prod", None)
    go_back.fn("iris", "prod", target)
    record_rollback.fn("iris", "prod", target, "complaints", "me", {})
    name_champion.fn("iris")
    world.agrees_on(one)
    assert world.told(one, OURS, "rollback").endswith("ended the trial of version 3")


def test_a_rollback_is_refused_with_what_there_is(world: World) -> None:
    with pytest.raises(Refused, match="version 3 of iris was never released; released were: 1"):
        find_target.fn("iris", "prod", "3")
    with pytest.raises(Refused, match="no version was released before version 1; released were: 1"):
        find_target.fn("iris", "prod", None)
    with pytest.raises(Refused, match="nothing serves in uat yet"):
        find_target.fn("iris", "uat", None)
    target = msgspec.structs.replace(find_target.fn("iris", "prod", "1"))
    world.release_as(OTHER, world.versions[1])
    with pytest.raises(Refused, match=f"flow run {OTHER} changed prod"):
        go_back.fn("iris", "prod", target)


def test_the_champion_before_is_the_one_released_last_before() -> None:
    a, b, c = (Served(name, name) for name in "abc")
    assert champion_before([a, b, c], c) == b
    assert champion_before([a, b, c], b) == a
    assert champion_before([a, b, a], a) == b
    assert champion_before([a, a], a) is None
    assert champion_before([a, b], c) == b
