"""Thresholds from past windows, so that what comes and goes with seasons, weather and weekdays is no alarm.

A test's value in the window is compared with what the past windows make likely: a first-order
autoregression forecasts it from the latest one, and Student's t says how far beyond its residuals it
may lie (Box and Jenkins; Montgomery, Introduction to Statistical Quality Control, ch. 10). Independent
windows, slow seasons and fast weekly ones are all special cases. A value that some past window reached
is never beyond, unless a data incident of its column made it. This comes on top of the test itself, and
never makes an alarm of what is none.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from mlops.core.arrays import Floats
from mlops.core.findings import INCIDENTS, Finding, Kind

LENGTH = 60
"""Latest past windows that count."""
FORGIVEN = 10
"""Latest windows of which those beyond their threshold are left out, and most windows with a data incident that are;
what stays longer, or comes more often, is the new normal."""
INPUTS: frozenset[Kind] = frozenset({"ks", "location", "scale", "chi2", "missing", "pair", "joint"})
ANSWERS: frozenset[Kind] = frozenset({"confidence", "classes"})
"""They follow the inputs: where inputs moved no further than past windows did, that explains what the model says."""
SIGNED: frozenset[Kind] = frozenset({"location", "scale", "missing", "accuracy", "residual", "loss", "surprise"})
"""Effects on either side of zero; distances (and the change of whichever pair changed most) are calibrated by
their roots, which are nearer to normal; squares by the root of these (Hawkins and Wixley, 1986)."""


Key = tuple[str, Kind, bool]
"""Column, kind, and whether windows are tested together."""


class Past(msgspec.Struct, frozen=True):
    """One past value of a test."""

    value: float
    beyond: bool = False
    """Whether it was beyond its own calibrated threshold."""
    broken: bool = False
    """Whether its column's data were broken."""


def beyond(value: float, past: Sequence[Past], level: float, least: int) -> bool | None:
    """Tell whether a value is higher than past windows make likely; None with fewer than ``least``.

    Args:
        value: of this window.
        past: of earlier windows, oldest first.
        level: chance of a false alarm.
        least: fewest usable past windows.
    """
    recent = list(past)[-LENGTH:]
    rare = sum(each.broken for each in recent) <= FORGIVEN
    kept = [
        (age, each.value)
        for age, each in zip(range(len(recent), 0, -1), recent, strict=True)
        if not (each.beyond and age <= FORGIVEN) and not (each.broken and rare)
    ]
    if len(kept) < max(4, least):
        return None
    age, values = kept[-1][0], np.array([each for _, each in kept])
    if value <= values.max():
        return False
    forecast, spread, degrees = _forecast(values, age)
    return bool(value > forecast + _quantile(level, degrees) * spread)


def recalibrated(
    findings: Sequence[Finding], history: Sequence[Sequence[Finding]], level: float, least: int
) -> tuple[Finding, ...]:
    """Let drifted findings stand only where they are beyond past windows too; the same before there are enough.

    Args:
        findings: of this window; incidents stay as they are, but for a factor that past windows explain.
        history: findings of earlier windows, oldest first.
        level: chance of a false alarm over all findings.
        least: fewest past windows.
    """
    if len(history) < least:
        return tuple(findings)
    tests = max(1, sum(found.kind not in INCIDENTS for found in findings))
    series = [{_key(found): found for found in past} for past in history]
    now = {_key(found): found for found in findings}
    judged = [_judged(found, now, series, level / tests, least) for found in findings]
    moved = {found.column for found in judged if found.drifted and found.kind not in INCIDENTS}
    if any(found.drifted and found.kind in INPUTS for found in findings) and not any(
        found.drifted and found.kind in INPUTS for found in judged
    ):
        judged = [_calm(found) if found.kind in ANSWERS else found for found in judged]
    # A season can multiply a column: a factor that past windows had too is no change of unit.
    return tuple(found for found in judged if found.kind != "unit" or found.column in moved)


Findings = dict[Key, Finding]
MOMENTS: tuple[Kind, ...] = ("location", "scale")


def _judged(found: Finding, now: Findings, series: Sequence[Findings], level: float, least: int) -> Finding:
    if found.kind in INCIDENTS or not found.drifted:
        return found
    key, side = _key(found), 1.0 if found.effect >= 0 else -1.0
    same = [past for past in series if key in past]
    values = [
        Past(_value(past[key], past, side), past[key].drifted and past[key].calibrated, _broken(found, past))
        for past in same
    ]
    far = beyond(_value(found, now, side), values, level, least)
    if far is None:
        return found
    return msgspec.structs.replace(found, calibrated=True) if far else _calm(found)


def _broken(found: Finding, past: Findings) -> bool:
    """Whether a past window had a data incident of a test's column, or of any where columns are tested together."""
    broken = [each.column for each in past.values() if each.kind in INCIDENTS]
    alone = found.kind in INPUTS and found.kind not in {"pair", "joint"}
    return found.column in broken if alone else bool(broken)


def _calm(found: Finding) -> Finding:
    return msgspec.structs.replace(found, drifted=False, calibrated=True, before={}, now={}) if found.drifted else found


def _key(found: Finding) -> Key:
    # The pair that changed most is another one each time; its change is one series.
    return ("" if found.kind == "pair" else found.column, found.kind, found.windows > 1)


def _value(found: Finding, window: Findings, side: float) -> float:
    """What is compared with past windows: effects with their side, distances by roots, of numbers' less what is told.

    A distance has no side, so past windows on either side of the reference do not show how far a mean wanders;
    the test of the mean does. Of a number's distance counts what its mean and its variance leave unexplained:
    normal distributions apart by s, or with variances apart by a share v, have the distances φ(0) s and φ(1) v/2.
    """
    if found.kind == "scale":  # A mean that wanders moves the squared scores, by the square of its way.
        return side * math.copysign(abs(found.effect) ** 0.5, found.effect)
    if found.kind == "confidence":  # Inputs that move either way make a model surer, by the square of their way.
        return math.sqrt(math.sqrt(abs(found.effect)))
    if found.kind == "ks":
        mean, variance = (window.get((found.column, kind, False)) for kind in MOMENTS)
        told = 0.399 * abs(mean.effect if mean else 0.0) + 0.121 * abs(variance.effect if variance else 0.0)
        return found.effect - told  # below zero where the mean is far away: no root, or it would be cut off there
    return side * found.effect if found.kind in SIGNED else abs(found.effect) ** 0.5


def _forecast(values: Floats, ahead: int) -> tuple[float, float, int]:
    """Forecast so many windows ahead of the last value: the mean, its spread, degrees of freedom."""
    count, mean = len(values), float(values.mean())
    centred = values - mean
    total = float(centred @ centred)
    carried = float(centred[1:] @ centred[:-1]) / total if total > 0 else 0.0
    # The estimate is low by about (1 + 3φ)/n (Kendall, 1954).
    carried = float(np.clip(carried + (1 + 3 * carried) / count, 0.0, 1.0)) if carried > 0 else 0.0
    residuals = centred[1:] - carried * centred[:-1]
    degrees = count - 3
    variance = float(residuals @ residuals) / degrees
    steps = sum(carried ** (2 * step) for step in range(ahead))
    forecast = mean + carried**ahead * float(centred[-1])
    return forecast, (variance * (steps + 1 / count)) ** 0.5, degrees


def _quantile(level: float, degrees: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - level))
