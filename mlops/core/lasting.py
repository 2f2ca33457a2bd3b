"""Windows of one version together: a loss that no single window shows, since chance could make it once, but that lasts.

Each window leaves a tally of its loss. Those of the last windows, the worst of them left out, add up to one long
window with the days of all, and that is tested as a single one is. Leaving the worst out makes it a test of
whether as many windows as must agree are worse (a partial conjunction; Benjamini and Heller, Biometrics 64,
2008): one that is very bad would make the sum bad too, and does not last.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlops.core.findings import Finding, Kind
from mlops.core.performance import COST_FLOOR, LOSS, SURPRISE, Measured, design_effect, error_of, upper
from mlops.core.two_sample import Moments, moments

if TYPE_CHECKING:
    from mlops.core.profile import Holdout

POOLED: tuple[tuple[Kind, int], ...] = (("loss", LOSS), ("surprise", SURPRISE))
"""What is pooled, with its column in ``performance.measures``."""


class Tally(msgspec.Struct, frozen=True):
    """One measure of a window's labelled rows."""

    rows: int
    mean: float
    variance: float
    """Of a row."""
    days: int
    """Days that tell how days differ; 0: they are too few."""
    design_effect: float


def tallied(measured: Measured) -> tuple[Tally, ...]:
    """Tally a window's rows, in the order of ``POOLED``."""
    days = 0 if measured.clusters is None else len(np.unique(measured.clusters))
    found = []
    for _, column in POOLED:
        values = measured.values[:, column]
        told = moments(values)
        found.append(Tally(told.rows, told.mean, told.variance, days, design_effect(values, measured.clusters)))
    return tuple(found)


def together(
    holdout: "Holdout", windows: Sequence[tuple[Tally, ...]], spared: int, target: str, level: float
) -> tuple[Finding, ...]:
    """Test the windows but the worst as one against the holdout; what leaves fewer than two is not tested.

    Args:
        holdout: of the version that answered them all.
        windows: their tallies, this one's last.
        spared: how many of the worst are left out: one less than must agree.
        target: name of the target, which findings are filed under.
        level: chance of a false alarm of all these tests.
    """
    kept = len(windows) - spared
    if kept < 2 or len(holdout.measures) <= SURPRISE:
        return ()
    found = []
    for position, (kind, column) in enumerate(POOLED):
        tallies = sorted((window[position] for window in windows), key=lambda tally: tally.mean)
        one, before = _added(tallies[:kept]), holdout.measures[column]
        days = one.days + holdout.days
        inflated = holdout.design_effect
        if one.days:
            inflated = (one.days * one.design_effect + holdout.days * holdout.design_effect) / days
        effect = one.mean - before.mean
        error = error_of(Moments(before.rows, before.mean, before.variance), one.variance, one.rows) * inflated
        p_value = upper(effect / max(error, 1e-12) ** 0.5, days - 2, inflated)
        cost = effect / 2 if kind == "surprise" else effect
        found.append(
            Finding(
                column=target, kind=kind, statistic=cost, effect=effect, p_value=p_value, windows=len(windows),
                drifted=bool(cost >= COST_FLOOR and p_value < level / len(POOLED)),
            )
        )  # fmt: skip
    return tuple(found)


def _added(tallies: Sequence[Tally]) -> Tally:
    """Add windows up; the design effect is their mean, weighed by days."""
    rows = sum(each.rows for each in tallies)
    mean = sum(each.rows * each.mean for each in tallies) / rows
    variance = sum(each.rows * (each.variance + (each.mean - mean) ** 2) for each in tallies) / rows
    days = sum(each.days for each in tallies)
    effect = sum(each.days * each.design_effect for each in tallies) / days if days else 1.0
    return Tally(rows, mean, variance, days, effect)
