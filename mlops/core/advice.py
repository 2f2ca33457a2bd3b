"""Which policy a replay recommends, why, and the numbers of every policy side by side."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import msgspec
import numpy as np

from mlops.core.arrays import Floats
from mlops.core.outcome import TOLERANCE
from mlops.core.promotion import Z95
from mlops.core.replay import PolicyResult


class Difference(msgspec.Struct, frozen=True):
    """Loss of one policy less that of another, in the metric's unit, with its 95 % interval."""

    mean: float
    low: float
    high: float


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """The recommended policy and the reasons, in sentences with numbers."""

    policy: str
    reasons: tuple[str, ...]
    differences: dict[str, Difference]
    """Of each other policy and control from the recommended one; above 0 means worse."""


def loss(result: PolicyResult, metric: str) -> float:
    """The loss that decides: the share of errors when the spec's metric is accuracy, else log loss."""
    return 1 - result.accuracy if metric == "accuracy" else result.log_loss


def difference(first: PolicyResult, second: PolicyResult, metric: str) -> Difference:
    """Compare two policies window by window, weighted by rows.

    What follows a change lasts for some windows, so that their differences are no independent sample:
    the variance of the mean is Newey and West's (1987), with Bartlett weights up to lag 4 (n/100)^(2/9).
    """
    rows = np.array([window.rows for window in first.windows], dtype=np.float64)
    values = _losses(first, metric) - _losses(second, metric)
    mean = float(np.average(values, weights=rows))
    scores = rows / rows.sum() * (values - mean)
    lags = int(4 * (len(scores) / 100) ** (2 / 9))
    variance = float(scores @ scores)
    for lag in range(1, min(lags, len(scores) - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(scores[lag:] @ scores[:-lag])
    half = Z95 * sqrt(max(0.0, variance))
    return Difference(mean, mean - half, mean + half)


def advise(results: Mapping[str, PolicyResult], controls: Mapping[str, PolicyResult], metric: str) -> Advice:
    """Recommend the cheapest of the policies whose loss is as good as the best one's: so a cost must be shown to pay.

    Cheapest is fewest retrainings, then CPU seconds. A trigger that evenly spaced retrainings of the
    same count beat is not recommended: its moments are then worth nothing, and a schedule is simpler.
    """
    beaten = {name for name, control in controls.items() if loss(control, metric) < loss(results[name], metric)}
    open_to = {name: result for name, result in results.items() if name not in beaten} or dict(results)
    best = min(open_to.values(), key=lambda result: loss(result, metric))
    good = {name: result for name, result in open_to.items() if _as_good(result, best, metric)}
    chosen = min(good, key=lambda name: (good[name].retrains, good[name].cpu_seconds))
    others = {name: result for name, result in results.items() if name != chosen}
    compared = others | {f"evenly spaced as often as {name}": control for name, control in controls.items()}
    differences = {name: difference(result, results[chosen], metric) for name, result in compared.items()}
    reasons = [_own(chosen, results[chosen], metric)]
    reasons += [_against(name, result, results[chosen], differences[name], metric) for name, result in compared.items()]
    reasons += [
        f"{name} is not recommended: as many retrainings at even distances were better." for name in sorted(beaten)
    ]
    if chosen == "never":
        reasons.append("No retraining was worth its cost on this past: leave the trigger off, and keep watching.")
    return Advice(policy=chosen, reasons=tuple(reasons), differences=differences)


def _as_good(result: PolicyResult, best: PolicyResult, metric: str) -> bool:
    """Whether a loss is higher by a negligible share, or by no more than a standard error (Breiman et al., 1984)."""
    if loss(result, metric) <= loss(best, metric) * (1 + TOLERANCE):
        return True
    found = difference(result, best, metric)
    return found.mean <= (found.high - found.mean) / Z95


def rows(results: Mapping[str, PolicyResult], controls: Mapping[str, PolicyResult]) -> list[dict[str, Any]]:
    """List the numbers of each policy and, under a trigger, of its control."""
    table = []
    for name, result in results.items():
        table.append(_row(name, result))
        if name in controls:
            table.append(_row(f"evenly spaced, {controls[name].retrains}", controls[name]))
    return table


def text(table: list[dict[str, Any]]) -> str:
    """Align a table for a terminal."""
    head = list(dict.fromkeys(key for row in table for key in row))
    cells = [head, *([str(row.get(key, "")) for key in head] for row in table)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    lines = ["  ".join(_padded(cell, width, at) for at, (cell, width) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    return "\n".join(line.rstrip() for line in [lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


MEANINGS = {
    "never": "Never retrain.",
    "always": "Retrain after every window.",
    "evidently": "Retrain when Evidently's report finds drift.",
    "ours": "Retrain when the verdict says so: switch the trigger on.",
}


def meaning(policy: str) -> str:
    """Say what a policy does."""
    return MEANINGS.get(policy) or f"Retrain after every {policy.partition(':')[2]} windows, by a schedule."


def markdown(table: list[dict[str, Any]], advice: Advice, title: str) -> str:
    """Write a page: recommendation, reasons, table."""
    head = list(dict.fromkeys(key for row in table for key in row))
    lines = [
        f"# Recommended: {advice.policy}",
        "",
        f"**{meaning(advice.policy)}**",
        "",
        title,
        "",
        *(f"- {reason}" for reason in advice.reasons),
        "",
    ]
    lines += ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(row.get(key, "")) for key in head) + " |" for row in table]
    return "\n".join(lines) + "\n"


def _losses(result: PolicyResult, metric: str) -> Floats:
    accuracy = metric == "accuracy"
    return np.array([1 - window.accuracy if accuracy else window.log_loss for window in result.windows])


def _own(name: str, result: PolicyResult, metric: str) -> str:
    cost = "without any retraining" if not result.retrains else f"with {_retrainings(result)}"
    return (
        f"{name}: {_named(metric)} {loss(result, metric):.4f}, accuracy {result.accuracy:.4f}, {cost},"
        f" {result.cpu_seconds:.0f} CPU s, is as good as the best here, and the cheapest that is."
    )


def _against(name: str, result: PolicyResult, chosen: PolicyResult, found: Difference, metric: str) -> str:
    base = loss(chosen, metric) or 1e-9
    share, low, high = (100 * value / base for value in (found.mean, found.low, found.high))
    sure = "beyond chance" if found.low > 0 or found.high < 0 else "within chance"
    return (
        f"{name}: {_named(metric)} {loss(result, metric):.4f}, {abs(share):.1f} % {'more' if share >= 0 else 'less'}"
        f" (95 % interval {low:+.1f} to {high:+.1f} %: {sure}), with {_retrainings(result)},"
        f" {result.cpu_seconds:.0f} CPU s."
    )


def _retrainings(result: PolicyResult) -> str:
    return "1 retraining" if result.retrains == 1 else f"{result.retrains} retrainings"


def _named(metric: str) -> str:
    return "share of errors" if metric == "accuracy" else "log loss"


def _row(name: str, result: PolicyResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "policy": name,
        "accuracy": f"{result.accuracy:.4f}",
        "log loss": f"{result.log_loss:.4f}",
        "retrains": result.retrains,
        "alarms": len(result.alarms),
        "CPU s": f"{result.cpu_seconds:.1f}",
    }
    if result.delays:
        row["delay (windows)"] = ", ".join("missed" if d.windows is None else str(d.windows) for d in result.delays)
        row["false alarms"] = result.false_alarms
    return row


def _padded(cell: str, width: int, at: int) -> str:
    return cell.rjust(width) if at else cell.ljust(width)
