"""Refreshes: a fresh model is tried as often as that pays, without an alarm."""

from collections.abc import Callable

from mlops.core import rivals
from tasks.watchdog import unanswered_alarms
from tests.tasks.world import World, alarmed


def test_a_fresh_model_is_tried_when_nothing_alarmed_and_its_gain_sets_the_next_time(
    make: Callable[..., World],
) -> None:
    world = make(refresh_windows=2, cooldown_windows=1)
    asked = []
    for day in range(8):
        world.day(day)
        given, due = world.check(day + 1)
        assert set(given.values()) <= {"ok", "investigate"}
        if due:
            assert due.alarm == due.window == next(iter(given))
            assert world.check(day + 1) == ({}, None), "asked once"
            assert world.retrain(due.alarm)
            asked.append(day)
    assert asked[0] == 1
    ledger = world.context.ledger
    first = ledger.find("refresh", "prod-2026-03-03T0000")
    assert first is not None
    assert first.decision == "due"
    assert first.numbers["onset"] == "prod-2026-03-02T0000"
    answer = ledger.find("retraining", "prod-2026-03-03T0000")
    assert answer is not None
    assert "Windows since the last training: 2; a fresh model is tried after 2." in first.reasons[0]
    later = ledger.find("refresh", "prod-2026-03-04T0000")
    assert later is not None
    assert "Fresh models have gained" in later.reasons[0], "measured on the window that it answered"
    assert asked[1] - asked[0] in (1, 4), "half as many windows when it helped, twice as many when not"
    outcome = ledger.find("outcome", "prod-2026-03-03T0000")
    assert outcome is not None, "settled when the next refresh was due"
    assert outcome.decision in ("helped", "no difference", "harmed", "nothing changed")
    assert outcome.numbers["alarm_true"] is None, "nothing alarmed"
    assert "alarm was" not in world.pages["iris-outcome"].lower()


def test_a_refresh_whose_event_was_lost_is_found_again(make: Callable[..., World]) -> None:
    world = make(refresh_windows=2)
    for day in range(3):
        world.day(day)
        world.check(day + 1)
    (lost,) = unanswered_alarms.fn("iris", 0)
    assert lost.alarm == lost.window == "prod-2026-03-03T0000"
    assert not lost.detected
    assert world.entries("refresh")["prod-2026-03-03T0000"] == "due"
    assert "prod-2026-03-04T0000" not in world.entries("refresh"), "nothing more is asked for until it is answered"
    assert world.retrain(lost.alarm)
    assert unanswered_alarms.fn("iris", 0) == []


def test_no_refresh_is_tried_while_an_alarm_is_closely_followed_up(make: Callable[..., World]) -> None:
    world = make(refresh_windows=3, cooldown_windows=1)
    alarm = alarmed(world)
    assert world.retrain(alarm)
    asked = []
    for day in range(4, 20):
        world.day(day)
        _, due = world.check(day + 1)
        if due:
            asked.append(due.alarm)
            assert world.retrain(due.alarm, due.window, run=f"run-{day}")
    followed = asked.count(alarm)
    assert 1 <= followed <= rivals.CLOSE_FOLLOW_UPS
    assert asked[:followed] == [alarm] * followed
    assert asked[followed:], "refreshes begin when it is over"
    assert not set(asked[followed:]) - world.entries("refresh").keys()


def test_without_refresh_windows_only_alarms_retrain(make: Callable[..., World]) -> None:
    world = make(refresh_windows=0)
    for day in range(6):
        world.day(day)
        assert world.check(day + 1)[1] is None
    assert world.entries("refresh") == {}
