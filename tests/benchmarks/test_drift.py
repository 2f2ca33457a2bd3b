"""A small version of the verdict's benchmark: fixed seeds, bounds that a verdict as good as asked passes."""

import pytest

from benchmarks.drift import Found, measured, render
from benchmarks.drift_cases import Case, cases

CASES = {case.name: case for case in cases()}
FEW = [
    *(name for name in CASES if name.startswith("unchanged") and "10 columns, 500 against 1,000" in name),
    *(
        name
        for name in CASES
        if name.startswith(("incident", "mean", "missing", "a correlation")) and "mixed" not in name
    ),
    "labels: 10 % flipped, mixed",
    "labels: half flipped in a tenth of the rows, normal",
    "harmless drift: retrain",
]


@pytest.mark.parametrize("name", FEW)
def test_the_verdict_is_right_as_often_as_asked(name: str) -> None:
    case: Case = CASES[name]
    found = measured(case, 6 / case.trials)
    low, high = found.interval
    assert low <= case.limit if case.bound.startswith("≤") else high >= case.limit


def test_intervals_are_wilsons_and_the_section_shows_them() -> None:
    found = Found("one", "≤ 1 %", 2, 100)
    assert found.interval == pytest.approx((0.0055, 0.0700), abs=1e-4)
    assert "| one | ≤ 1 % | 0.020 | 0.006 to 0.070 | 100 |" in render([found], None)
