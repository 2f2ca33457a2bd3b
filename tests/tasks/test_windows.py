"""Windows: each is cut and judged once, with the labels that it has."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.windows import judged_windows
from tests.tasks.world import DAY, START, World


def test_each_window_is_judged_once_with_what_came_late_counted(make: Callable[..., World]) -> None:
    world = make()
    world.day(0)
    world.day(1)
    first, _ = world.check(1.5)
    assert first == {"prod-2026-03-02T0000": "ok"}
    assert world.check(1.5)[0] == {}
    world.day(0, count=20, hour=3)  # late rows of a window that is judged
    assert world.check(2)[0] == {"prod-2026-03-03T0000": "ok"}
    (_, late) = world.tables["iris-windows"]
    assert (late["window"], late["rows"], late["came late"]) == ("prod-2026-03-02T0000", 150, 20)


def test_two_checks_at_once_give_each_window_one_verdict(make: Callable[..., World]) -> None:
    world = make()
    for day in range(3):
        world.day(day)
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda _: world.check(3)[0], range(4)))
    assert len(world.entries("verdict")) == 3
    for each in given:
        assert each.items() <= world.entries("verdict").items()


def test_windows_by_count_are_cut_once_in_the_order_of_answers(make: Callable[..., World]) -> None:
    world = make(window_rows=200)
    world.day(0)
    assert world.check(1)[0] == {}
    world.day(1, count=300)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: world.check(2), range(2)))
    assert world.entries("verdict") == {"prod-rows-000001": "ok", "prod-rows-000002": "ok"}
    world.day(0, count=30, hour=3)  # late: before the end of a window that is closed
    world.day(2, count=150)
    assert world.check(3)[0] == {"prod-rows-000003": "ok"}
    judged = judged_windows(world.context)
    assert [each.verdict.rows for each in judged] == [200, 200, 200]
    assert judged[1].window.after == judged[0].window.last < judged[1].window.last
    assert judged[2].window.start > START + DAY


def test_a_window_waits_for_its_labels_and_then_stands(make: Callable[..., World]) -> None:
    world = make(min_label_share=0.9)
    world.day(0, labelled=0.5)
    late = world.unlabelled
    world.day(1)
    assert world.check(2)[0] == {"prod-2026-03-02T0000": "(wait)", "prod-2026-03-03T0000": "(ok)"}
    assert world.entries("verdict") == {}
    assert world.entries("provisional") == {"prod-2026-03-02T0000": "wait", "prod-2026-03-03T0000": "ok"}
    world.label(1, late)
    assert world.check(2.1)[0] == {"prod-2026-03-02T0000": "ok", "prod-2026-03-03T0000": "ok"}
    assert world.check(2.2)[0] == {}


def test_labels_that_never_come_hold_nothing_up_for_ever(make: Callable[..., World]) -> None:
    world = make(min_label_share=0.9, label_patience_days=2.0)
    world.day(0, labelled=0.5)
    assert world.check(2.9)[0] == {"prod-2026-03-02T0000": "(wait)"}
    assert world.check(3)[0] == {"prod-2026-03-02T0000": "wait"}
    assert world.entries("verdict") == {"prod-2026-03-02T0000": "wait"}


def test_broken_data_are_told_while_labels_are_awaited(make: Callable[..., World]) -> None:
    world = make(min_label_share=0.9)
    world.day(0, labelled=0.1)
    rows = world.rows
    world.rows = lambda count: rows(count).assign(PetalWidthCm=7.77)  # type: ignore[method-assign]
    world.day(1, labelled=0.1)
    assert world.check(2)[0] == {"prod-2026-03-02T0000": "(wait)", "prod-2026-03-03T0000": "data_incident"}
    assert world.entries("verdict") == {"prod-2026-03-03T0000": "data_incident"}


@pytest.mark.parametrize("policy", [{}, {"window_rows": 150}])
def test_windows_before_a_data_incident_are_judged_once_their_labels_come(
    policy: dict[str, int], make: Callable[..., World]
) -> None:
    world = make(min_label_share=0.9, **policy)
    late: list[dict[str, str]] = []
    rows = world.rows
    for day in range(5):
        if day == 4:
            world.rows = lambda count: rows(count).assign(PetalWidthCm=7.77)  # type: ignore[method-assign]
        world.day(day, labelled=0.1)
        late.append(world.unlabelled)
    given = list(world.check(5)[0].values())
    assert given == ["(wait)"] * 4 + ["data_incident"]
    for day, labels in enumerate(late):
        world.label(day, labels)
    assert list(world.check(5.1)[0].values()) == ["ok"] * 4
    assert [each.verdict.rows for each in judged_windows(world.context)] == [150] * 5


def test_windows_that_one_batch_fills_see_each_other(make: Callable[..., World]) -> None:
    """All rows of a batch have the time of its request: a change is one alarm, and not one a window."""
    world = make(window_rows=150)
    world.day(0, count=450, at_once=True)
    world.changed = True
    world.day(1, count=600, at_once=True)
    given = list(world.check(2)[0].values())
    assert given[:3] == ["ok"] * 3
    assert given[3:] == ["investigate", "retrain", "investigate", "investigate"]


def test_small_windows_are_judged_together(make: Callable[..., World]) -> None:
    world = make()
    given: dict[str, str] = {}
    for day in range(4):
        world.day(day, count=60)
        given |= world.check(day + 1)[0]
    assert list(given.values()) == ["wait", "ok", "wait", "ok"]
    judged = judged_windows(world.context)
    assert [each.verdict.rows for each in judged] == [60, 120, 60, 120]
    assert judged[1].entry.numbers["pooled"] == ["prod-2026-03-02T0000"]
