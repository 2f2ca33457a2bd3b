"""A challenger judged by counters: better, equal, worse, unasked, and after a restart."""

import pytest

from mlops.core.canary import (
    Reading,
    StepVerdict,
    difference,
    judge_quiet,
    judge_shadow,
    judge_step,
    parse,
    quantile,
    restarted,
    tail,
)
from mlops.spec import Canary, Release, Shadow, Tolerances

BOUNDS = ("0.005", "0.01", "0.05", "0.25", "+Inf")
FAST, SLOW = "0.005", "0.25"
RELEASE = Release(canary=Canary(min_requests=30), tolerances=Tolerances(errors=0.02, disagreement=0.1))


def lines(role: str, version: str, statuses: dict[int, int], bound: str = FAST) -> str:
    """The text of a role whose answers all took between the bound before and this one."""
    common = f'model="iris",environment="prod",role="{role}",version="{version}"'
    total = sum(statuses.values())
    text = [f'mlops_scoring_answers_total{{{common},status="{s}"}} {count}' for s, count in statuses.items()]
    for each in BOUNDS:
        count = total if float(each) >= float(bound) else 0
        text.append(f'mlops_scoring_answer_seconds_bucket{{{common},le="{each}"}} {count}')
    return "\n".join([*text, f"mlops_scoring_answer_seconds_sum{{{common}}} 0.5", ""])


def shadow_lines(version: str, **results: int) -> str:
    common = f'model="iris",environment="prod",version="{version}"'
    return "".join(f'mlops_scoring_shadow_total{{{common},result="{r}"}} {n}\n' for r, n in results.items())


def judged(champion: dict[int, int], canary: dict[int, int], bound: str = FAST, shadow: str = "") -> StepVerdict:
    after = parse(lines("champion", "1", champion) + lines("canary", "2", canary, bound) + shadow)
    return judge_step(Reading(), after, RELEASE, champion="1", canary="2")


def test_the_text_is_read_by_role_version_and_label() -> None:
    text = '# TYPE mlops_scoring_answers_total counter\nmlops_scoring_generation{model="iris"} 3\n'
    reading = parse(text + lines("canary", "2", {200: 5, 422: 1, 500: 2}) + shadow_lines("2", agree=7, disagree=1))
    assert reading.answers("canary", "2") == (8, 3)
    assert reading.answers("canary", "1") == (0, 0)
    assert next(iter(reading.seconds("canary", "2").items())) == (0.005, 8)
    assert reading.select("shadow_total", "shadow", "2") == {"agree": 7, "disagree": 1}
    assert parse("") == Reading()


def test_readings_are_subtracted_and_a_restart_counts_from_zero() -> None:
    first, second = parse(lines("champion", "1", {200: 100})), parse(lines("champion", "1", {200: 130, 500: 1}))
    assert not restarted(first, second)
    assert difference(first, second).answers("champion", "1") == (31, 1)
    again = parse(lines("champion", "1", {200: 4}))
    assert restarted(second, again)
    assert restarted(second, Reading())
    assert difference(second, again).answers("champion", "1") == (4, 0)


@pytest.mark.parametrize(
    ("champion", "canary", "decision"),
    [
        ({200: 300}, {200: 40}, "go"),
        ({200: 270, 500: 30}, {200: 40}, "go"),
        ({200: 270, 500: 30}, {200: 90, 500: 10}, "go"),
        ({200: 300}, {200: 2, 500: 1}, "wait"),
        ({200: 300}, {500: 3}, "roll_back"),
        ({200: 300}, {200: 80, 500: 20}, "roll_back"),
        ({200: 300}, {200: 80, 422: 20}, "roll_back"),
        ({200: 240, 422: 60}, {200: 80, 422: 20}, "go"),
        ({200: 300}, {200: 29}, "wait"),
        ({200: 300}, {}, "wait"),
        ({}, {}, "wait"),
        ({}, {200: 30}, "go"),
    ],
    ids=[
        "no errors", "better", "as bad", "one error of three", "three of three", "worse", "refuses more",
        "refuses as many", "too few", "no traffic to the canary", "no traffic", "champion unasked",
    ],
)  # fmt: skip
def test_errors(champion: dict[int, int], canary: dict[int, int], decision: str) -> None:
    verdict = judged(champion, canary)
    assert verdict.decision == decision
    assert verdict.numbers["requests"] == sum(canary.values())
    if decision == "roll_back":
        assert "errors: the canary failed" in verdict.reasons[0]


def test_no_tolerance_forgives_no_error() -> None:
    strict = Release(tolerances=Tolerances(errors=0))
    after = parse(lines("champion", "1", {200: 10}) + lines("canary", "2", {200: 500, 500: 1}))
    assert judge_step(Reading(), after, strict, champion="1", canary="2").decision == "roll_back"


def test_only_what_was_counted_in_the_step_counts() -> None:
    before = parse(lines("champion", "1", {200: 10}) + lines("canary", "2", {500: 50}))
    after = parse(lines("champion", "1", {200: 90}) + lines("canary", "2", {200: 60, 500: 50}))
    assert judge_step(before, after, RELEASE, champion="1", canary="2").decision == "go"


def test_a_slow_canary_is_rolled_back_once_there_are_answers_enough() -> None:
    assert judged({200: 300}, {200: 40}, SLOW).reasons[0].startswith("latency: the canary's 95th percentile")
    assert judged({200: 300}, {200: 40}, SLOW).decision == "roll_back"
    assert judged({200: 300}, {200: 9}, SLOW).decision == "wait"
    assert judged({200: 300}, {200: 10}, SLOW).decision == "roll_back"
    assert judged({200: 19}, {200: 10}, SLOW).decision == "wait"
    assert judged({200: 300}, {200: 40}, "0.01").decision == "go"
    slow_both = parse(lines("champion", "1", {200: 300}, SLOW) + lines("canary", "2", {200: 40}, SLOW))
    assert judge_step(Reading(), slow_both, RELEASE, champion="1", canary="2").decision == "go"


def test_a_slow_canary_is_told_from_a_slow_machine_by_the_median() -> None:
    """A tenth of the champion's answers are as slow as all of the canary's: the 95th percentiles are equal."""
    busy = {"0.005": 270, "0.01": 270, "0.05": 270, "0.25": 300, "+Inf": 300}
    champion = lines("champion", "1", {200: 300})
    for bound, count in busy.items():
        champion = champion.replace(f'le="{bound}"}} 300', f'le="{bound}"}} {count}')

    def verdict(canary: str) -> StepVerdict:
        return judge_step(Reading(), parse(champion + canary), RELEASE, champion="1", canary="2")

    slow = verdict(lines("canary", "2", {200: 20}, SLOW))
    assert slow.decision == "roll_back"
    assert slow.reasons[0].startswith("latency: the canary's 50th percentile is")
    same = lines("canary", "2", {200: 30})
    for bound, count in busy.items():
        same = same.replace(f'le="{bound}"}} 30', f'le="{bound}"}} {count // 10}')
    assert verdict(same).decision == "go"


def test_the_latency_budget_holds_whatever_the_factor() -> None:
    lax = Release(latency_ms=40, canary=Canary(min_requests=1), tolerances=Tolerances(latency=1000))
    after = parse(lines("champion", "1", {200: 300}) + lines("canary", "2", {200: 40}, SLOW))
    assert judge_step(Reading(), after, lax, champion="1", canary="2").decision == "roll_back"


def test_other_classes_roll_back_beyond_the_tolerance() -> None:
    after = parse(lines("champion", "1", {200: 300}) + lines("canary", "2", {200: 40}))

    def decision(classes: dict[str, tuple[int, int]]) -> str:
        return judge_step(Reading(), after, RELEASE, champion="1", canary="2", classes=classes).decision

    assert decision({"0": (200, 27), "1": (100, 13)}) == "go"
    assert decision({"0": (200, 5), "1": (100, 35)}) == "roll_back"
    assert decision({"0": (300, 0)}) == "go"
    assert decision({"0": (2, 0), "1": (0, 2)}) == "go"
    assert judged({200: 300}, {200: 40}, shadow=shadow_lines("2", agree=50, disagree=50)).decision == "roll_back"
    assert judged({200: 300}, {200: 40}, shadow=shadow_lines("2", agree=95, disagree=5)).decision == "go"


@pytest.mark.parametrize(
    ("rows", "decision"),
    [
        ({"agree": 95, "disagree": 5}, "go"),
        ({"agree": 20, "disagree": 1}, "wait"),
        ({}, "wait"),
        ({"agree": 60, "disagree": 40}, "roll_back"),
        ({"agree": 60, "error": 40}, "roll_back"),
        ({"agree": 10, "skipped": 500}, "wait"),
    ],
)
def test_shadows(rows: dict[str, int], decision: str) -> None:
    release = Release(shadow=Shadow(seconds=60, requests=100), tolerances=Tolerances(disagreement=0.1))
    after = parse(lines("champion", "1", {200: 100}) + shadow_lines("2", **rows))
    assert judge_shadow(Reading(), after, release, champion="1", shadow="2").decision == decision


def test_a_quiet_step_ends_by_the_stated_rule() -> None:
    waiting = judged({200: 10}, {200: 2})
    goes, back = judge_quiet(waiting, Canary()), judge_quiet(waiting, Canary(quiet="roll_back"))
    assert (goes.decision, back.decision) == ("go", "roll_back")
    assert "only 2 of 50 requests in 600 s" in back.reasons[-1]


def test_quantiles_are_interpolated_within_their_bucket() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({0.01: 0, float("inf"): 0}, 0.5) is None
    assert quantile({0.01: 0, 0.02: 10, float("inf"): 10}, 0.5) == pytest.approx(0.015)
    assert quantile({0.01: 0, 0.02: 0, float("inf"): 10}, 0.5) == 0.02


def test_tails_are_those_of_the_binomial() -> None:
    from scipy.stats import binom

    for count, of, rate in [(1, 3, 0.05), (3, 3, 0.05), (20, 100, 0.1), (700, 5000, 0.12), (0, 0, 0.1)]:
        assert tail(count, of, rate) == pytest.approx(float(binom.sf(count - 1, of, rate)), abs=1e-9)
    assert (tail(1, 5, 0.0), tail(0, 5, 0.0), tail(5, 5, 1.0)) == (0.0, 1.0, 1.0)
