"""Refresh: how often a fresh model is tried, and what counts as a gain."""

import msgspec
import numpy as np
import pytest

from mlops.core.findings import Finding
from mlops.core.outcome import Outcome, measure
from mlops.core.refresh import Attempt, attempt, interval, moved, reason, refresh_due, settled, worth
from mlops.core.verdict import Meaning, Verdict
from mlops.spec import Drift

POLICY = Drift(refresh_windows=4, cooldown_windows=2)


def gained(gain: float, error: float = 0.01, moved: bool = False) -> Attempt:
    return Attempt(gain=gain, error=error, loss=0.5, moved=moved)


PAID, FLAT, HARMED, REFUSED = gained(0.03), gained(0.0), gained(-0.03), Attempt(refused=True)
OPEN = gained(0.0, moved=True)
"""Nothing gained beyond chance, nor shown to be no gain, while the inputs moved."""


def newest(verdict: Meaning = "ok", labelled: int = 500, columns: tuple[Finding, ...] = ()) -> Verdict:
    return Verdict(verdict=verdict, reasons=(), version="1", rows=500, labelled=labelled, columns=columns)


@pytest.mark.parametrize(
    ("attempts", "windows"),
    [
        ([], 4), ([PAID], 2), ([PAID, PAID], 2), ([FLAT], 8), ([HARMED], 8), ([REFUSED], 8), ([FLAT, FLAT, PAID], 8),
        ([FLAT] * 20, 256), ([OPEN], 4), ([OPEN] * 3, 4), ([Attempt()], 4), ([gained(-0.03, moved=True)], 8),
        ([Attempt(refused=True, moved=True)], 8),
    ],
)  # fmt: skip
def test_what_paid_is_tried_sooner_and_what_did_not_later(attempts: list[Attempt], windows: int) -> None:
    assert interval(POLICY, attempts) == windows
    assert refresh_due(POLICY, attempts, windows, newest())
    assert not refresh_due(POLICY, attempts, windows - 1, newest())


def test_small_gains_are_seen_together() -> None:
    small = gained(0.008, moved=True)
    assert worth([small]) == "open"
    assert worth([small] * 3) == "open", "more than a standard error, but not more than its price by one"
    assert worth([small] * 4) == "paid"
    assert interval(POLICY, [small] * 4) == 2
    assert interval(POLICY, [small] * 7) == 2, "evidence that has decided is not counted twice"


def test_a_gain_that_is_shown_to_be_tiny_is_not_worth_a_training() -> None:
    none = gained(0.0, moved=True)
    assert interval(POLICY, [none] * 16) == 4, "0.0025 is a standard error, as is what is worth it"
    assert interval(POLICY, [none] * 17) == 8


@pytest.mark.parametrize("verdict", ["wait", "retrain", "data_incident"])
def test_nothing_is_tried_on_rows_that_are_broken_few_or_alarming(verdict: Meaning) -> None:
    assert not refresh_due(POLICY, [], 9, newest(verdict))
    assert not refresh_due(POLICY, [], 9, newest(labelled=50))
    assert not refresh_due(POLICY, [], 9, msgspec.structs.replace(newest("investigate"), worse=True))
    assert not refresh_due(Drift(refresh_windows=0), [], 99, newest())


def test_windows_too_small_for_a_verdict_do_not_count() -> None:
    small = msgspec.structs.replace(newest("wait"), waits_for="rows")
    late = msgspec.structs.replace(newest("wait"), waits_for="labels")
    assert settled([small, newest(), small, late, newest("data_incident")]) == 3


def test_in_a_still_world_the_attempts_are_few() -> None:
    attempts: list[Attempt] = []
    waited = 0
    for _ in range(1000):
        waited += 1
        if refresh_due(POLICY, attempts, waited, newest()):
            attempts.append(FLAT)
            waited = 0
    assert len(attempts) == 8


@pytest.mark.parametrize(
    ("drifted", "calibrated", "expected"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_seasons_that_past_windows_explain_count_as_moved(drifted: bool, calibrated: bool, expected: bool) -> None:
    found = Finding(column="x", kind="ks", statistic=0.2, effect=0.2, drifted=drifted, calibrated=calibrated)
    assert moved(newest(columns=(found,))) is expected
    broken = Finding(column="x", kind="unseen", statistic=0.2, effect=0.2)
    assert moved(newest(columns=(broken,))) is False


def test_an_attempt_is_what_its_outcome_measured() -> None:
    random = np.random.default_rng(0)
    sure, unsure = random.uniform(0.7, 0.9, 400), random.uniform(0.4, 0.6, 400)
    both = [np.column_stack([1 - each, each]) for each in (sure, unsure)]
    measured = measure(["1"] * 400, *both, ("0", "1"), None)
    found = attempt(measured, moved=True)
    assert found.gain == pytest.approx(np.log(sure).mean() - np.log(unsure).mean())
    assert found.loss == pytest.approx(-np.log(unsure).mean())
    assert found.error == pytest.approx((np.log(sure) - np.log(unsure)).std() / 20, rel=0.5)
    assert found.moved
    assert attempt(None, moved=False) == Attempt(refused=True)
    assert attempt(Outcome(decision="nothing changed", rows=0, before=None), moved=False) == Attempt()


def test_the_reason_names_gains_their_price_and_refusals() -> None:
    told = reason(POLICY, [PAID, REFUSED], 2)
    assert "Windows since the last training: 2; a fresh model is tried after 4." in told
    assert "+0.0300 nats a row (standard error 0.0100)" in told
    assert "0.0025 is worth a training" in told
    assert "Refused by the gates: 1 of 2." in told
    assert "in 1 refreshes" in told
    assert reason(POLICY, [], 1) == "Windows since the last training: 1; a fresh model is tried after 4."
