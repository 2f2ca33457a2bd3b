"""Each fault of Azure in turn during provisioning, a training run and a release.

A part of the cases is played in every test run; ``make faults`` plays all and writes docs/azure-faults.md
(``make faults FAULTS=training`` those of one flow).
"""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.fault_cases import CASES, Case
from tests.e2e.fault_table import Seen, write
from tests.e2e.fault_world import World, world_in
from tests.e2e.state_folders import owned_processes, state_folder

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]
FAULTS = os.environ.get("FAULTS", "")
"""``all``, or the name of a flow: its cases are all played, and its section of the page is written."""
PLAYED = [each for each in CASES if FAULTS in ("all", each.flow) or (not FAULTS and each.quick)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with state_folder() as folder:
        with world_in(folder) as world:
            yield world
        assert owned_processes(folder) == []


@pytest.fixture(scope="module")
def seen() -> Iterator[list[Seen]]:
    """What was seen, written down at the end; a case that could not even be played has no row."""
    rows: list[Seen] = []
    yield rows
    if FAULTS and rows:
        write(rows)


@pytest.mark.parametrize("case", PLAYED, ids=lambda case: case.id)
def test_a_fault_ends_as_it_should(case: Case, world: World, seen: list[Seen]) -> None:
    made = case.flow == "provision" and "--destroy" not in case.where
    world.choose()
    with world.asking_prod() as asked:
        for strike in case.strikes:
            world.twin.fail(**strike)
        first = case.play(world)
        during = asked.cut()
        untouched = world.untouched()
        world.twin.control.delete("/twin/faults")
        world.choose()
        again = None if first.type == "COMPLETED" else (case.again or case.play)(world)
        if made:
            assert world.provision(destroy=True).type == "COMPLETED"
        left = world.left()
        if left:
            assert case.leaves, left
            assert all(each.startswith(case.leaves) for each in left)
            world.reap()
    seen.append(Seen(case, first, again, left, during, asked))
    assert untouched == [], "the fault did not strike"
    assert (first.type, case.says in first.message) == (case.ends, True), first.message
    assert first.seconds < case.seconds
    assert again is None or again.type == "COMPLETED", again.message
    assert not world.left()
    assert world.serves_one_version()
    assert during.answers
    assert case.away or not during.failed, (during.failed[:3], during.away)
    assert case.away_again or not asked.failed, (asked.failed[:3], asked.away)
