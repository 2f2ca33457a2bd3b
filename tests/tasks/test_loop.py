"""The loop: one retraining however often it is asked for, followed up, and measured."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

import tasks.retrain
from mlops.adapters import evidently_workspace
from mlops.core import rivals
from tasks.bundles import bundle_lineage
from tasks.network import Refused
from tasks.reports import report_window, unreported_windows
from tasks.retrain import MOST_TRIES, claim_alarm
from tasks.runs import Run
from tasks.watchdog import unanswered_alarms, waiting_challengers
from tasks.windows import find_alarm
from tests.tasks.world import START, World, alarmed


def test_an_alarm_trains_rivals_is_followed_up_and_is_marked_true(make: Callable[..., World]) -> None:
    world = make()
    first = world.champion
    assert first
    alarm = alarmed(world)
    assert find_alarm(world.context, alarm).onset.window.name == "prod-2026-03-04T0000"
    assert world.retrain(alarm)
    assert world.champion != first, "the gates let the new model pass"
    assert world.champion
    lineage = bundle_lineage(world.context, world.champion.digest)
    assert (lineage.rival, lineage.onset[:10]) == (rivals.SINCE, "2026-03-04")
    assert {run["name"] for run in world.registry.runs} == {"logistic", "logistic since the alarm"}

    windows = []
    for day in range(4, 16):
        world.day(day)
        _, due = world.check(day + 1)
        if due:
            windows.append(due.window)
            assert due.alarm == alarm
            assert world.retrain(alarm, due.window, run=f"run-{day}")
            assert world.check(day + 1)[1] is None, "at most once a window"
        if world.entries("outcome"):
            break
    assert 2 <= len(windows) <= 4, "the rows since the onset double each time until they are most of the data"
    (outcome,) = world.context.ledger.entries("outcome")
    assert (outcome.subject, outcome.decision, outcome.numbers["alarm_true"]) == (alarm, "helped", True)
    assert outcome.numbers["after"] < outcome.numbers["without"] - 0.5
    assert outcome.numbers["before"] == pytest.approx(outcome.numbers["without"], rel=0.3)
    assert "Yes, it helped. The alarm was true." in world.pages["iris-outcome"]
    row = next(each for each in world.tables["iris-windows"] if each["window"] == alarm)
    assert (row["alarm was"], row["retraining"]) == ("true", "helped")


def test_an_alarm_whose_challengers_are_all_refused_is_false(make: Callable[..., World]) -> None:
    world = make()
    alarm = alarmed(world)
    world.validate = lambda _: False  # type: ignore[assignment,method-assign]
    assert world.retrain(alarm)
    world.changed = False  # it passed, as a storm does
    for day in range(4, 20):
        world.day(day)
        _, due = world.check(day + 1)
        if due:
            world.retrain(alarm, due.window, run=f"run-{day}")
    (outcome,) = world.context.ledger.entries("outcome")
    assert (outcome.decision, outcome.numbers["alarm_true"]) == ("nothing changed", False)


def test_a_storm_of_runs_for_one_alarm_retrains_once(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    alarm = alarmed(world)
    names = [f"run-{number}" for number in range(200)]
    world.alive = set(names)
    local = threading.local()
    monkeypatch.setattr(tasks.retrain, "current_flow_run", lambda: local.run)

    def claim(run: str) -> bool:
        local.run = run
        return bool(claim_alarm.fn("iris", alarm, alarm).ours)

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(claim, names)) == 1


def test_a_run_that_died_is_followed_by_one_other(make: Callable[..., World]) -> None:
    world = make()
    alarm = alarmed(world)
    world.run, world.alive = "first", {"first"}
    assert claim_alarm.fn("iris", alarm, alarm).ours
    assert claim_alarm.fn("iris", alarm, alarm).ours, "a retried task still holds its claim"
    world.run = "second"
    busy = claim_alarm.fn("iris", alarm, alarm)
    assert (busy.ours, "is being answered by flow run retrain of first" in busy.why) == (False, True)
    world.alive = set()
    assert world.retrain(alarm, run="second")
    done = claim_alarm.fn("iris", alarm, alarm)
    assert (done.ours, "was answered by flow run second: challenger ready" in done.why) == (False, True)
    assert list(world.entries("retraining")) == [alarm]


def test_a_run_that_answers_while_another_one_looks_is_not_repeated(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    alarm = alarmed(world)
    world.run = "first"
    assert claim_alarm.fn("iris", alarm, alarm).ours

    def ends_now(run: str) -> Run:
        """The holder writes its answer and ends between the other's two looks."""
        world.context.ledger.record("retraining", alarm, "challenger ready", flow_run=run)
        return Run(run, "retrain of first", "Completed", alive=False)

    monkeypatch.setattr(tasks.retrain, "describe_run", ends_now)
    world.run = "second"
    late = claim_alarm.fn("iris", alarm, alarm)
    assert (late.ours, late.why) == (False, "was answered by flow run first: challenger ready")
    assert world.entries("claim") == {f"{alarm}-1": "taken"}


def test_an_alarm_that_kills_its_runs_is_given_up(make: Callable[..., World]) -> None:
    world = make()
    alarm = alarmed(world)
    for number in range(MOST_TRIES):
        world.run = f"doomed-{number}"
        assert claim_alarm.fn("iris", alarm, alarm).ours
    world.run = "one too many"
    assert "given up" in claim_alarm.fn("iris", alarm, alarm).why
    assert world.entries("retraining") == {alarm: "given up"}
    assert unanswered_alarms.fn("iris", 0) == []
    assert world.check(4)[1] is None


def test_only_alarms_and_due_follow_ups_are_answered(make: Callable[..., World]) -> None:
    world = make()
    alarm = alarmed(world)
    with pytest.raises(Refused, match="no verdict under this name"):
        claim_alarm.fn("iris", "prod-2031-01-01T0000", "prod-2031-01-01T0000")
    with pytest.raises(Refused, match="the verdict ok"):
        claim_alarm.fn("iris", "prod-2026-03-02T0000", "prod-2026-03-02T0000")
    with pytest.raises(Refused, match="no follow-up of alarm"):
        claim_alarm.fn("iris", alarm, "prod-2026-03-09T0000")


def test_of_many_alarms_the_newest_is_answered(make: Callable[..., World]) -> None:
    """After an outage one check finds windows enough for several alarms."""
    world = make(cooldown_windows=1)
    for day in range(7):
        world.changed = day >= 2
        world.day(day)
    given, _ = world.check(7)
    alarms = [name for name, verdict in given.items() if verdict == "retrain"]
    assert len(alarms) >= 2
    late = claim_alarm.fn("iris", alarms[0], alarms[0])
    assert (late.ours, f"is superseded by alarm {alarms[-1]}" in late.why) == (False, True)
    assert world.retrain(alarms[-1])
    assert list(world.entries("retraining")) == [alarms[-1]]


def test_labels_that_tell_late_of_a_version_that_was_replaced_retrain_nothing(make: Callable[..., World]) -> None:
    world = make(cooldown_windows=1, label_delay_days=3.0)
    first, late = world.champion, ""
    for day in range(10):
        world.changed = day >= 2
        world.day(day)
        for name, verdict in world.check(day + 1)[0].items():
            if verdict == "retrain" and world.champion == first:
                assert world.retrain(name)
                assert world.champion != first
            elif verdict == "retrain":
                late = late or name
    assert late, "the first version's windows were still being judged"
    told = claim_alarm.fn("iris", late, late)
    assert (told.ours, told.why) == (False, "tells of version 1, which no longer serves")
    assert unanswered_alarms.fn("iris", 0) == []
    assert len({entry.numbers["alarm"] for entry in world.context.ledger.entries("retraining")}) == 1


def test_the_watchdog_finds_what_no_run_answers(make: Callable[..., World]) -> None:
    world = make()
    assert unanswered_alarms.fn("iris", 0) == []
    alarm = alarmed(world)
    (found,) = unanswered_alarms.fn("iris", 0)
    assert (found.alarm, found.window, found.version, found.detected) == (alarm, alarm, "1", True)
    assert unanswered_alarms.fn("iris", 10) == [], "its event may still be on its way"
    world.unfinished = [Run("run", "retrain iris", "Scheduled", alive=True)]
    assert unanswered_alarms.fn("iris", 0) == []
    world.unfinished = []
    assert world.retrain(alarm)
    assert unanswered_alarms.fn("iris", 0) == []
    world.day(4)
    assert world.check(5)[1] is None, "half as many rows again are too few for a follow-up"
    world.day(5)
    _, due = world.check(6)
    assert due
    (followed,) = unanswered_alarms.fn("iris", 0)
    assert (followed.alarm, followed.window, followed.detected) == (alarm, due.window, False)


def test_the_watchdog_finds_a_challenger_that_nobody_released(make: Callable[..., World]) -> None:
    world = make()
    assert world.champion
    world.registry.set_alias("iris", "challenger", None)
    assert waiting_challengers.fn("iris", 0) == []
    world.land(1500)
    world.ingest()
    version = world.train()
    record = world.context.ledger.record
    record("gate", "g", "accepted", numbers={"digest": version.digest})
    world.registry.set_alias("iris", "challenger", version.version)
    (found,) = waiting_challengers.fn("iris", 0)
    assert (found.version, found.digest) == (version.version, version.digest)
    assert waiting_challengers.fn("iris", 10) == []
    world.unfinished = [Run("run", "release iris", "Suspended", alive=True)]
    assert waiting_challengers.fn("iris", 0) == []
    world.unfinished = []
    record("release", "r", "rejected", numbers={"digest": version.digest})
    assert waiting_challengers.fn("iris", 0) == [], "a person said no"


def test_a_moment_without_an_offset_is_refused(make: Callable[..., World]) -> None:
    from tasks.drift import closed_windows

    world = make()
    world.day(0)
    with pytest.raises(Refused, match="no offset from UTC"):
        closed_windows.fn("iris", (START + timedelta(days=1)).replace(tzinfo=None))


def test_each_window_gets_its_report_also_after_a_check_that_died(make: Callable[..., World]) -> None:
    world = make()
    for day in range(2):
        world.day(day)
    world.check(2)  # it died before its reports
    names = unreported_windows.fn("iris")
    assert names == ["prod-2026-03-02T0000", "prod-2026-03-03T0000"]
    key = report_window.fn("iris", names[0])
    page = world.context.store.get(key)
    assert len(page) > 1_000_000
    assert unreported_windows.fn("iris") == names[1:]
    project = evidently_workspace.project_id("iris")
    (run,) = world.context.store.list("iris/reports/evidently/runs/")
    assert run.rpartition("/")[2].startswith(f"{evidently_workspace.run_id('iris', names[0])}.")
    summary = world.pages["iris-evidently-summary"]
    assert "- accuracy: 0." in summary
    assert f"/projects/{project}" in summary
