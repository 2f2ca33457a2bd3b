"""Promotion: whether a challenger may replace the champion, gate by gate, with reasons and numbers."""

from collections.abc import Iterator, Sequence
from math import isfinite, sqrt

import msgspec
import numpy as np
from pandas import DataFrame, Series

from mlops.core.arrays import Counts, Floats
from mlops.core.evaluation import Metrics, contributions, evaluate
from mlops.core.performance import days, design_effect
from mlops.spec import ModelSpec

Z95 = 1.959964
"""Half-width, in standard errors, of a 95 % interval of a mean."""


ONE_SIDED = 1.644854
"""The same for one side."""


class Gate(msgspec.Struct, frozen=True):
    """One condition: whether it holds, why in a sentence, on which numbers."""

    name: str
    passed: bool
    reason: str
    numbers: dict[str, float | None] = {}


class Decision(msgspec.Struct, frozen=True):
    """All gates that were asked; a challenger is accepted when every one passed."""

    accepted: bool
    gates: tuple[Gate, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was refused; when accepted, why each gate passed."""
        return tuple(gate.reason for gate in self.gates if self.accepted or not gate.passed)


def decide(
    spec: ModelSpec,
    labels: Sequence[str] | Series,
    challenger: Floats,
    champion: Floats | None,
    served: Floats | None,
    *,
    holdout: DataFrame | None = None,
    newer: bool = False,
) -> Decision:
    """Judge a challenger by the spec's gates.

    All probabilities are [rows, classes], on the same holdout rows as ``labels``: the trained
    challenger's, the champion's (none: there is no champion) and those of the challenger's
    served form (none: the trained form itself serves). Too few rows, or answers that are not
    finite, end the questions.

    ``holdout`` are the inputs of these rows; their days, which differ, widen the margin of chance. ``newer``:
    the challenger is what the loop made of newer rows in the champion's own way, so that it is expected to be
    no worse; it is refused when it is worse beyond chance (one-sided 95 %, Student's t over days), where any other
    must not be worse at all.

    Raises:
        ValueError: shapes differ, or a label is none of the classes.
    """
    gates: list[Gate] = []
    clusters = days(holdout, spec.data)
    for gate in _gates(spec, labels, challenger, champion, served, clusters, newer):
        gates.append(gate)
        if not gate.passed and gate.name in ("rows", "finite"):
            break
    return Decision(all(gate.passed for gate in gates), tuple(gates))


def _gates(
    spec: ModelSpec,
    labels: Sequence[str] | Series,
    challenger: Floats,
    champion: Floats | None,
    served: Floats | None,
    clusters: Counts | None,
    newer: bool,
) -> Iterator[Gate]:
    yield _rows(len(labels), spec.gates.min_rows)
    metrics = evaluate(labels, challenger, spec.data.target.classes)
    yield _finite(metrics, challenger)
    yield from _bounds(spec, metrics)
    yield _comparison(spec, labels, challenger, champion, clusters, newer)
    yield _agreement(challenger, served, spec.gates.min_onnx_agreement)


def _rows(rows: int, least: int) -> Gate:
    # Not even a spec that asks for none can be judged on none.
    least = max(least, 1)
    return Gate("rows", rows >= least, f"{rows} holdout rows, at least {least} needed", {"rows": rows, "min": least})


def _finite(metrics: Metrics, probabilities: Floats) -> Gate:
    wrong = int((~np.isfinite(probabilities)).any(axis=1).sum())
    measured = {"accuracy": metrics.accuracy, "log_loss": metrics.log_loss, "roc_auc": metrics.roc_auc}
    broken = [name for name, value in measured.items() if value is not None and not isfinite(value)]
    reason = "all probabilities and metrics are finite"
    if wrong or broken:
        reason = (
            f"probabilities are not finite on {wrong} rows; not finite: {', '.join(broken) or 'none of the metrics'}"
        )
    return Gate("finite", not wrong and not broken, reason, {"rows_not_finite": wrong})


def _bounds(spec: ModelSpec, metrics: Metrics) -> Iterator[Gate]:
    gates = spec.gates
    for name, value, bound, sign in (
        ("accuracy", metrics.accuracy, gates.min_accuracy, 1),
        ("roc_auc", metrics.roc_auc, gates.min_roc_auc, 1),
        ("log_loss", metrics.log_loss, gates.max_log_loss, -1),
    ):
        if bound is None:
            continue
        kind = "min" if sign > 0 else "max"
        passed = value is not None and sign * value >= sign * bound
        shown = "undefined (one class only)" if value is None else f"{value:.4f}"
        reason = f"{name} is {shown}, {'at least' if sign > 0 else 'at most'} {bound:g} asked ({kind}_{name})"
        yield Gate(f"{kind}_{name}", passed, reason, {name: value, kind: bound})


def _comparison(
    spec: ModelSpec,
    labels: Sequence[str] | Series,
    challenger: Floats,
    champion: Floats | None,
    clusters: Counts | None,
    newer: bool,
) -> Gate:
    """Compare row by row; a positive difference means that the challenger is worse."""
    if champion is None:
        return Gate("champion", True, "there is no champion to compare with")
    metric, margin = spec.training.metric, spec.gates.margin
    ours = contributions(metric, labels, challenger, spec.data.target.classes)
    theirs = contributions(metric, labels, champion, spec.data.target.classes)
    if ours is None or theirs is None:
        return Gate("champion", False, f"{metric} is undefined: the holdout rows are of one class only")
    if not np.isfinite(champion).all():
        return Gate("champion", True, "the champion's probabilities are not finite: it cannot be the better one")
    worse = (ours - theirs) * (1 if metric == "log_loss" else -1)
    difference = float(worse.mean())
    error = float("inf")
    if len(worse) > 1:
        error = float(worse.std(ddof=1)) / sqrt(len(worse) / design_effect(worse, clusters))
    half, allowed = Z95 * error, margin + (_chance(clusters) * error if newer and isfinite(error) else 0.0)
    numbers = {"challenger": float(ours.mean()), "champion": float(theirs.mean()), "difference": difference,
               "low": difference - half, "high": difference + half, "margin": allowed}  # fmt: skip
    return Gate("champion", difference <= allowed, _compared(metric, numbers, newer), dict(numbers))


def _chance(clusters: Counts | None) -> float:
    """Standard errors that a mean exceeds by chance in one case of twenty."""
    from scipy.special import stdtrit

    return ONE_SIDED if clusters is None else float(stdtrit(max(1, len(np.unique(clusters)) - 1), 0.95))


def _compared(metric: str, n: dict[str, float], newer: bool) -> str:
    difference = n["difference"]
    verdict = "equal" if difference == 0 else f"{abs(difference):.4f} {'worse' if difference > 0 else 'better'}"
    certainty = "excludes" if n["low"] > 0 or n["high"] < 0 else "includes"
    allowed = f"{n['margin']:.2g} worse allowed" + (
        ", the chance of so few rows and days, since it learnt from newer ones" * newer
    )
    return (
        f"{metric} {n['challenger']:.4f} against the champion's {n['champion']:.4f}: {verdict}, {allowed};"
        f" the 95 % interval [{n['low']:.4f}, {n['high']:.4f}] (above 0 is worse) {certainty} zero"
    )


def _agreement(trained: Floats, served: Floats | None, least: float) -> Gate:
    if served is None:
        return Gate("served_form", True, "the trained form itself serves")
    if served.shape != trained.shape:
        raise ValueError(f"served probabilities {served.shape}, trained ones {trained.shape}")
    finite = np.isfinite(served).all(axis=1)
    same = finite & (served.argmax(axis=1) == trained.argmax(axis=1))
    share, apart = float(same.mean()), float(np.abs(served - trained)[finite].max(initial=0))
    reason = f"the served form gives the trained form's label on {share:.2%} of rows, at least {least:.2%} asked"
    return Gate("served_form", share >= least, reason, {"agreement": share, "min": least, "max_difference": apart})
