"""Refresh: when a model that raises no alarm is tried against a fresh one, as often as that pays.

A world that moves slowly never looks worse than yesterday, so no alarm comes, and yet each newer model
would be a little better. How much is not known without trying, so it is measured: each refresh replaces
a model that might have stayed, and on all rows since then both can be compared. What the refreshes gained
sets the time of the next one. In a world that stands still the attempts become rare.
"""

from collections.abc import Sequence
from math import sqrt
from typing import Literal

import msgspec

from mlops.core.findings import INCIDENTS
from mlops.core.outcome import TOLERANCE, Outcome
from mlops.core.verdict import Verdict
from mlops.spec import Drift

LONGEST = 64
"""Most windows between two attempts, in multiples of ``Drift.refresh_windows``."""
Worth = Literal["paid", "did not pay", "open"]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What a refresh came to; a refused one gained nothing and left nothing to compare."""

    refused: bool = False
    moved: bool = False
    """Whether the inputs or answers of its window differed from training."""
    gain: float | None = None
    """Loss that the replaced model would have had since, less the loss that there was (nats a row)."""
    error: float | None = None
    """Standard error of the gain."""
    loss: float | None = None
    """Of the replaced model on the same rows."""


def attempt(outcome: Outcome | None, moved: bool) -> Attempt:
    """Read an attempt from its outcome up to now; none: the gates refused the fresh model."""
    if outcome is None:
        return Attempt(refused=True, moved=moved)
    return Attempt(moved=moved, gain=outcome.gain, error=outcome.error, loss=outcome.without)


def moved(verdict: Verdict) -> bool:
    """Whether inputs or answers differ from training beyond chance, whatever seasons past windows have shown.

    For an alarm a season is no news; a model that has not seen it may gain from it all the same.
    """
    return any((found.drifted or found.calibrated) and found.kind not in INCIDENTS for found in verdict.columns)


def settled(verdicts: Sequence[Verdict]) -> int:
    """Count windows; those too small for a verdict are parts of the next one."""
    return sum(verdict.waits_for != "rows" for verdict in verdicts)


def interval(policy: Drift, attempts: Sequence[Attempt]) -> int:
    """Return after how many windows without a training the next attempt is due.

    It begins with ``refresh_windows``, which is short: beginning too soon costs a training or two, beginning too
    late costs loss and is learnt late. Evidence is gathered over attempts until it decides, and then anew: a gain
    above ``TOLERANCE`` of the loss by more than a standard error halves the interval (to ``cooldown_windows``, but
    at least 1); one below it by more than a standard error doubles it, as does an attempt that the gates refused.
    While it is open the interval stays where inputs moved, since what moves may pay later, and doubles where they
    did not. What an alarm's trainings gained tells nothing of a slow change.

    Args:
        policy: of the model's spec.
        attempts: each refresh so far, oldest first.
    """
    windows, least = policy.refresh_windows, max(1, policy.cooldown_windows)
    since: list[Attempt] = []
    for each in attempts:
        since.append(each)
        found = worth(since)
        if found == "open" and each.moved and not each.refused:
            continue
        if found == "paid":
            windows = max(least, windows // 2)
        elif each.gain is not None or each.refused:
            windows = min(LONGEST * policy.refresh_windows, windows * 2)
        since = []
    return windows


def worth(attempts: Sequence[Attempt]) -> Worth:
    """Say whether refreshes paid: their gains pooled, each weighed by its precision."""
    found = pooled(attempts)
    if found is None:
        return "open"
    gain, error, loss = found
    price = TOLERANCE * loss
    return "paid" if gain - error > price else "did not pay" if gain + error < price else "open"


def pooled(attempts: Sequence[Attempt]) -> tuple[float, float, float] | None:
    """Pool gains by inverse variance (Cochran, 1954): gain, its standard error and the loss; none: nothing measured."""
    known = [
        (each.gain, max(each.error, 1e-9), each.loss)
        for each in attempts
        if each.gain is not None and each.error is not None and each.loss is not None
    ]
    if not known:
        return None
    total = sum(1 / error**2 for _, error, _ in known)
    gain = sum(gain / error**2 for gain, error, _ in known) / total
    return gain, 1 / sqrt(total), sum(loss / error**2 for _, error, loss in known) / total


def reason(policy: Drift, attempts: Sequence[Attempt], windows: int) -> str:
    """Say in sentences why a fresh model is tried now, or is not yet."""
    said = f"Windows since the last training: {windows}; a fresh model is tried after {interval(policy, attempts)}."
    if found := pooled(attempts):
        gain, error, loss = found
        count = sum(each.gain is not None for each in attempts)
        said += (
            f" Fresh models have gained {gain:+.4f} nats a row (standard error {error:.4f}) over those that they"
            f" replaced, in {count} refreshes; {TOLERANCE * loss:.4f} is worth a training."
        )
    refused = sum(each.refused for each in attempts)
    return said + (f" Refused by the gates: {refused} of {len(attempts)}." if refused else "")


def refresh_due(policy: Drift, attempts: Sequence[Attempt], windows: int, newest: Verdict) -> bool:
    """Say whether a fresh model is to be tried now.

    Args:
        policy: of the model's spec.
        attempts: as for ``interval``.
        windows: judged since the last training (``settled``), the newest one included.
        newest: the verdict on the newest window; without sound, labelled rows nothing is tried, nor where the model
            is worse: that is for an alarm to answer, which a new version would put off.
    """
    if not policy.refresh_windows or newest.verdict not in ("ok", "investigate") or newest.worse:
        return False
    return newest.labelled >= policy.min_rows and windows >= interval(policy, attempts)
