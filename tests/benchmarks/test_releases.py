"""The section on releases says what was counted."""

from typing import Any

from benchmarks.releases import Story, render
from tests.e2e.load import Sent

NOTHING: Any = None


def test_failures_and_times_are_those_of_the_requests() -> None:
    story = Story(NOTHING, NOTHING)
    with story.timed("release"):
        pass
    story.rollbacks.append("| errs | 3 | 0.2 | 1.5 | errors: 3 of 3 |")
    sent = [Sent(i / 200, str(i), 0, seconds=0.001 * (i + 1), status=200) for i in range(99)]
    text = render(story, [*sent, Sent(0.5, "99", 0, seconds=0.1, status=503)], 0.5)
    assert "asked 100 times in 0 s (200 a second)" in text
    assert "Requests that failed: 1." in text
    assert "50.5 ms (median), 100.0 ms (99th percentile)" in text
    assert "| release | 0.0 |" in text
    assert text.count("| errs | 3 | 0.2 | 1.5 | errors: 3 of 3 |") == 1
