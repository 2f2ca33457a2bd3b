"""An earlier version answers again."""

import msgspec
import pytest

from mlops.core.serving import Served, champion_before
from tasks.mend import mend
from tasks.network import Refused
from tasks.release import name_champion
from tasks.rollback import find_target, go_back, record_rollback
from tests.tasks.release_world import OTHER, OURS, World, served


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


def test_a_registry_that_is_away_holds_no_rollback_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _ = world.versions
    world.release_as("run-2", two)
    world.write(two, OTHER)  # Its run has died before it could tell.

    def away(*_: object) -> None:
        raise ConnectionError("MLflow is away")

    monkeypatch.setattr(world.context.registry, "find", away)
    assert mend.fn("iris", aliases=False).released == served(two)
    target = find_target.fn("iris", "prod", None)
    go_back.fn("iris", "prod", target)
    assert world.prod.state.champion == served(one)
    with pytest.raises(ConnectionError):
        name_champion.fn("iris")


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
