"""A run that Prefect takes for running counts as dead when it gives no sign of life."""

from functools import partial

import pytest

import tasks.runs
from mlops.adapters.life import SignOfLife, lives
from tasks.context import open_model
from tasks.runs import Run, find_writer


@pytest.mark.parametrize(
    ("alive", "running", "beats", "expected"),
    [
        (True, True, True, True),
        (True, True, False, False),  # Killed, and nothing told Prefect.
        (True, False, False, True),  # Suspended for its approval: no process is there, and none should be.
        (False, False, True, False),
    ],
)
def test_who_may_still_act(
    monkeypatch: pytest.MonkeyPatch, alive: bool, running: bool, beats: bool, expected: bool
) -> None:
    store = open_model("iris").store
    monkeypatch.setattr(tasks.runs, "describe_run", lambda run: Run(run, "release iris", "Running", alive, running))
    monkeypatch.setattr(tasks.runs, "lives", partial(lives, seconds=0.3))
    sign = SignOfLife(store, "iris", "run", beat_seconds=0.02)
    if beats:
        with sign:
            found = find_writer(store, "iris", "run")
    else:
        found = find_writer(store, "iris", "run")
    assert found.alive == expected
    assert ("no sign of life" in str(found)) == (running and not beats)
