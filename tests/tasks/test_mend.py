"""What dead releases left is brought to one story."""

from typing import Any

import pytest

from mlops.adapters.registry import CHALLENGER, CHAMPION
from mlops.adapters.serving import read_state
from mlops.adapters.store import Conflict
from mlops.core.smoke import Check
from tasks import mend as mending
from tasks.mend import mend
from tasks.network import Refused
from tests.tasks.release_world import FIRST, OTHER, OURS, World, served


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


def test_a_first_release_that_died_unverified_and_fails_leaves_nothing_that_answers(world: World) -> None:
    one = world.versions[0]
    for key in world.context.store.list("iris/ledger/release/"):
        world.context.store.delete(key)
    world.checks = [Check("golden record 1", False, "answered '2'", 0.01)]
    world.write(one, OTHER)
    assert mend.fn("iris").released is None
    assert world.told(one, OTHER).startswith("rolled back")
    assert read_state(world.context.store, "iris", "prod") is None


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


def test_two_that_mend_at_once_find_it_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog and the next release; who comes second looks again, and neither is refused."""
    one, two, _ = world.versions
    world.write(one, OTHER, canary=served(two), share=0.1)
    write, others = mending.write_state, [mend.fn]

    def after_another(*given: Any, **told: Any) -> Any:
        if others:
            others.pop()("iris")
        return write(*given, **told)

    monkeypatch.setattr(mending, "write_state", after_another)
    assert mend.fn("iris") == mending.Mended()
    assert others == []
    world.agrees_on(one)
    assert "left version 2 as the canary" in world.told(two, OTHER)


def test_a_state_that_never_rests_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _ = world.versions
    world.write(one, OTHER, canary=served(two), share=0.1)

    def conflict(*_: Any, **__: Any) -> Any:
        raise Conflict("changed")

    monkeypatch.setattr(mending, "write_state", conflict)
    with pytest.raises(Refused, match="nothing was overwritten"):
        mend.fn("iris")
