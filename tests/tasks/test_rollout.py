"""Shadow and canary, step by step: judged, put back, overtaken."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import tasks.evidence
import tasks.mend
import tasks.release
import tasks.rollback
import tasks.rollout
from mlops.adapters.registry import CHALLENGER
from tasks.network import Refused
from tasks.release import name_champion, put_back, serve
from tasks.rollout import run_canary, run_shadow
from tests.tasks.release_world import FIRST, OTHER, OURS, QUICK, World, served


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
    world.agrees_on(world.versions[0])
    assert verdict.numbers["seconds_to_rollback"] < 10
    put_back.fn("iris", "prod", before)
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


def test_a_service_that_ends_again_and_again_is_rolled_back(world: World) -> None:
    """What a canary did that ends the process is in no counter: each restart begins with clean ones."""
    world.policy(canary=msgspec.structs.replace(QUICK.canary, min_seconds=60, max_seconds=60))
    numbers = iter([90, 100, 3, 8, 2, 9, 9, 9])

    def text() -> str:
        return f'mlops_scoring_answers_total{{role="canary",version="2",status="200"}} {next(numbers)}'

    world.services.metrics = text
    verdict = run_canary.fn("iris", world.versions[1], world.prod, 0.1)
    assert (verdict.decision, verdict.reasons) == ("roll_back", ("the service ended 2 times in this step",))
    world.agrees_on(world.versions[0])


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
