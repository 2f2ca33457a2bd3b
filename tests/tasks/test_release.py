"""What surrounds a rollout: what is put back, and what an approval holds for."""

import pytest

import tasks.release
from mlops.adapters.registry import CHALLENGER
from mlops.adapters.services import ReplacementFailed, Service
from mlops.adapters.serving import read_state
from mlops.core.smoke import Check
from mlops.spec import Approval
from tasks.evidence import approval_policy
from tasks.network import Refused
from tasks.release import check_approval, put_back, serve, smoke_test_service
from tests.tasks.release_world import OTHER, World


def test_a_first_version_that_is_put_back_leaves_nothing_that_answers(world: World) -> None:
    serve.fn("iris", "uat", world.versions[1], None)
    put_back.fn("iris", "uat", None)
    assert read_state(world.context.store, "iris", "uat") is None
    assert world.services.removed == ["iris-uat"]


def test_a_service_that_was_put_back_ends_the_release(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(*_: str) -> Service:
        raise ReplacementFailed("the group from before is put back")

    monkeypatch.setattr(world.services, "ensure", ensure)
    with pytest.raises(Refused, match="the group from before is put back"):
        serve.fn("iris", "uat", world.versions[1], None)
    assert read_state(world.context.store, "iris", "uat") is None


def test_a_smoke_test_of_another_runs_version_says_whose_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.release, "create_link_artifact", lambda **_: None)
    _, two, three = world.versions
    serve.fn("iris", "uat", two, None)
    world.checks = [Check("ready with the released bundle", False, "version 3", 0.01)]
    assert smoke_test_service.fn("iris", "uat", two) == world.checks
    world.write(three, OTHER, "uat")
    with pytest.raises(Refused, match=rf"flow run {OTHER} changed uat \(generation 2, version 3\)"):
        smoke_test_service.fn("iris", "uat", two)


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
