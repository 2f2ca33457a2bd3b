"""Judges a challenger in PROD against the champion's own errors, latency and classes, from the service's counters.

Every test is one-sided and exact or chi-squared at a small level, since a step is judged again and
again while it lasts: one error among three answers is chance, three of three are not.
"""

import re
from collections.abc import Callable, Mapping
from math import exp, inf, lgamma, log, log1p
from typing import Literal

import msgspec
import numpy as np

from mlops.core.two_sample import chi_squared
from mlops.spec import Canary, Release

LEVEL = 0.001
"""Chance of calling an equal challenger worse in one look."""
QUANTILES = (0.95, 0.5)
"""Of the answer time. The median tells a slow model from a slow machine, on which a few answers of anyone are slow."""
LATENCY_ANSWERS = 10
"""Answers of the canary below which its times are not judged: as few as tell, when all of them are slow."""
CHAMPION_ANSWERS = 20
"""Answers of the champion below which there is nothing to compare with."""
REFUSED = 422
"""Counts as an error: requests are split at random, so callers' mistakes fall on both roles alike."""

_LINE = re.compile(r"mlops_scoring_(answers_total|answer_seconds_bucket|shadow_total)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
StepDecision = Literal["go", "wait", "roll_back"]
Counts = Mapping[str, tuple[int, int]]
"""By class: answers of the champion, answers of the canary."""


class Reading(msgspec.Struct, frozen=True):
    """Counters by metric, role, version and last label: status, upper bound in seconds, or result."""

    counters: dict[tuple[str, str, str, str], int] = {}

    def select(self, metric: str, role: str, version: str) -> dict[str, int]:
        """The counters of one metric, role and version, by their last label."""
        wanted = (metric, role, version)
        return {key[3]: count for key, count in self.counters.items() if key[:3] == wanted}

    def answers(self, role: str, version: str) -> tuple[int, int]:
        """How many requests a role answered, and how many of them with an error."""
        statuses = {int(status): count for status, count in self.select("answers_total", role, version).items()}
        errors = sum(count for status, count in statuses.items() if status == REFUSED or status >= 500)
        return sum(statuses.values()), errors

    def seconds(self, role: str, version: str) -> dict[float, int]:
        """The cumulative latency histogram of a role: answers by upper bound in seconds, rising."""
        found = self.select("answer_seconds_bucket", role, version)
        return dict(sorted((float(bound), count) for bound, count in found.items()))


class StepVerdict(msgspec.Struct, frozen=True):
    """Whether a step may go on, must wait or is rolled back, why, and the numbers behind it."""

    decision: StepDecision
    reasons: tuple[str, ...]
    numbers: dict[str, float] = {}


def parse(text: str) -> Reading:
    """Read the answer and shadow counters from Prometheus text; other lines are passed over."""
    counters = {}
    for metric, inside, value in _LINE.findall(text):
        labels = dict(_LABEL.findall(inside))
        last = labels.get("status") or labels.get("le") or labels.get("result") or ""
        counters[metric, labels.get("role", "shadow"), labels.get("version", ""), last] = int(float(value))
    return Reading(counters)


def restarted(before: Reading, after: Reading) -> bool:
    """Whether the service began to count anew between two readings."""
    return any(after.counters.get(key, 0) < count for key, count in before.counters.items())


def difference(before: Reading, after: Reading) -> Reading:
    """What was counted between two readings; after a restart, all that was counted since."""
    if restarted(before, after):
        return after
    return Reading({key: count - before.counters.get(key, 0) for key, count in after.counters.items()})


def judge_step(
    before: Reading, after: Reading, release: Release, *, champion: str, canary: str, classes: Counts | None = None
) -> StepVerdict:
    """Judge a canary step: errors, latency, and classes where they are known.

    Args:
        before: the counters at its start.
        after: the counters now.
        release: tolerances, and the requests that the canary must have answered.
        champion: version of the champion.
        canary: version of the canary.
        classes: predicted classes of both, by frequency.
    """
    counted = difference(before, after)
    (requests, errors), (others, their_errors) = (
        counted.answers("canary", canary),
        counted.answers("champion", champion),
    )
    numbers: dict[str, float] = {"requests": requests, "errors": errors}
    numbers |= {"champion_requests": others, "champion_errors": their_errors}
    worse = _errors("the canary", (requests, errors), (others, their_errors), release.tolerances.errors)
    worse += _latency(counted.seconds("canary", canary), counted.seconds("champion", champion), release, numbers)
    worse += _disagreement(counted, canary, release.tolerances.disagreement, numbers)
    worse += _classes(classes or {}, release.tolerances.disagreement, numbers)
    if worse:
        return StepVerdict("roll_back", tuple(worse), numbers)
    seen = f"{errors} errors in {requests} answers, the champion's own {their_errors} in {others}"
    enough = requests >= release.canary.min_requests
    return StepVerdict("go" if enough else "wait", (seen,), numbers)


def judge_shadow(before: Reading, after: Reading, release: Release, *, champion: str, shadow: str) -> StepVerdict:
    """Judge a shadow: its errors and its disagreement with the champion; ``go`` once enough rows are compared."""
    counted = difference(before, after)
    rows = counted.select("shadow_total", "shadow", shadow)
    compared = rows.get("agree", 0) + rows.get("disagree", 0)
    errors, asked = rows.get("error", 0), compared + rows.get("error", 0)
    numbers: dict[str, float] = {"compared": compared, "errors": errors, "skipped": rows.get("skipped", 0)}
    worse = _errors("the shadow", (asked, errors), counted.answers("champion", champion), release.tolerances.errors)
    worse += _disagreement(counted, shadow, release.tolerances.disagreement, numbers)
    if worse:
        return StepVerdict("roll_back", tuple(worse), numbers)
    seen = f"{rows.get('disagree', 0)} of {compared} rows differ from the champion's, {errors} errors"
    enough = 0 < release.shadow.requests <= compared
    return StepVerdict("go" if enough else "wait", (seen,), numbers)


def judge_quiet(verdict: StepVerdict, canary: Canary) -> StepVerdict:
    """Decide on a step whose longest time is over before the canary has answered enough requests."""
    reason = (
        f"only {verdict.numbers.get('requests', 0):g} of {canary.min_requests} requests in {canary.max_seconds:g} s;"
        f" the spec says {canary.quiet.replace('_', ' ')} (release.canary.quiet)"
    )
    decision: StepDecision = "go" if canary.quiet == "continue" else "roll_back"
    return StepVerdict(decision, (*verdict.reasons, reason), verdict.numbers)


def quantile(buckets: Mapping[float, int], share: float) -> float | None:
    """Estimate a quantile, in seconds, from a cumulative histogram, as Prometheus' histogram_quantile does.

    None without answers; the highest finite bound when it lies above all of them.
    """
    total = max(buckets.values(), default=0)
    low, under = 0.0, 0
    for bound, count in buckets.items() if total else ():
        if count >= share * total and count > under:
            return low if bound == inf else low + (bound - low) * (share * total - under) / (count - under)
        low, under = (low if bound == inf else bound), count
    return None


def tail(count: int, of: int, rate: float) -> float:
    """The probability of ``count`` or more successes in ``of`` independent trials (exact binomial)."""
    if count <= 0 or rate >= 1:
        return 1.0
    if rate <= 0:
        return 0.0
    choose: Callable[[int], float] = lambda k: lgamma(of + 1) - lgamma(k + 1) - lgamma(of - k + 1)  # noqa: E731
    less = sum(exp(choose(k) + k * log(rate) + (of - k) * log1p(-rate)) for k in range(count))
    return max(0.0, 1.0 - less)


def _errors(who: str, ours: tuple[int, int], theirs: tuple[int, int], tolerance: float) -> list[str]:
    (requests, errors), (others, their_errors) = ours, theirs
    own = their_errors / others if others else 0.0
    if tail(errors, requests, own + tolerance) >= LEVEL:
        return []
    return [
        f"errors: {who} failed {errors} of {requests} answers ({errors / requests:.1%}), the champion {their_errors}"
        f" of {others} ({own:.1%}); {tolerance:.1%} more are tolerated"
    ]


def _latency(
    ours: dict[float, int], theirs: dict[float, int], release: Release, numbers: dict[str, float]
) -> list[str]:
    requests, others = max(ours.values(), default=0), max(theirs.values(), default=0)
    if requests < LATENCY_ANSWERS or others < CHAMPION_ANSWERS:
        return []
    worse = []
    for share in QUANTILES:
        slow, usual, name = quantile(ours, share) or 0.0, quantile(theirs, share) or 0.0, f"p{share * 100:.0f}"
        numbers |= {f"{name}_ms": round(slow * 1000, 2), f"champion_{name}_ms": round(usual * 1000, 2)}
        limit = max(usual * release.tolerances.latency, usual + release.tolerances.latency_ms / 1000)
        if usual <= release.latency_ms / 1000:
            limit = min(limit, release.latency_ms / 1000)
        # Times are known by bucket: those that exceed the limit for certain are counted.
        bound = next((bound for bound in ours if bound >= limit), inf)
        above = requests - ours.get(bound, requests)
        if tail(above, requests, 1 - share) < LEVEL:
            worse.append(
                f"latency: the canary's {share * 100:.0f}th percentile is {slow * 1000:.1f} ms, the champion's"
                f" {usual * 1000:.1f} ms; {above} of {requests} answers took over {bound * 1000:g} ms"
            )
    return worse[:1]


def _disagreement(counted: Reading, version: str, tolerance: float, numbers: dict[str, float]) -> list[str]:
    rows = counted.select("shadow_total", "shadow", version)
    differ, compared = rows.get("disagree", 0), rows.get("agree", 0) + rows.get("disagree", 0)
    if not compared:
        return []
    numbers |= {"disagreement": round(differ / compared, 4)}
    if tail(differ, compared, tolerance) >= LEVEL:
        return []
    return [
        f"disagreement: {differ} of {compared} rows ({differ / compared:.1%}) got another class than the champion's;"
        f" {tolerance:.1%} are tolerated"
    ]


def _classes(classes: Counts, tolerance: float, numbers: dict[str, float]) -> list[str]:
    counts = np.array(list(classes.values()), dtype=np.int64).reshape(-1, 2)
    if not counts.sum(axis=0).all():
        return []
    _, variation, p_value = chi_squared(counts)
    numbers |= {"class_variation": round(variation, 4)}
    if p_value >= LEVEL or variation <= tolerance:
        return []
    shown = ", ".join(f"{name}: {ours} against {theirs}" for name, (theirs, ours) in classes.items())
    return [
        f"disagreement: the canary's classes are distributed otherwise than the champion's (total variation"
        f" {variation:.2f}, {tolerance:g} tolerated): {shown}"
    ]
