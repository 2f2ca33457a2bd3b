"""Evaluation: holdout metrics of class probabilities, their pictures and tables."""

import io
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from pandas import Series, factorize

from mlops.core.arrays import Floats

CLIP = 1e-7
"""Smallest probability that log loss counts with, so that one sure mistake costs 16.1 nats and no more."""


class ClassMetrics(msgspec.Struct, frozen=True):
    """How well one class is found; a ratio without a denominator is 0."""

    precision: float
    recall: float
    f1: float
    support: int
    """Rows that truly are of this class."""


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """``metrics.json``: how well probabilities match labels."""

    rows: int
    accuracy: float
    log_loss: float
    """Mean negative log of the true class's clipped probability, in nats a row."""
    roc_auc: float | None
    """Of the second class, or the macro one-vs-rest mean for more than two; none when only one occurs."""
    per_class: dict[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    """Rows by true class, columns by predicted class, in the order of the target's classes."""

    @property
    def scalars(self) -> dict[str, float]:
        """Those that are one number, by the names that experiment tracking shows."""
        named = {"accuracy": self.accuracy, "log_loss": self.log_loss, "roc_auc": self.roc_auc}
        known = {name: value for name, value in named.items() if value is not None}
        return known | {"holdout_rows": float(self.rows)}


def evaluate(labels: Sequence[str] | Series, probabilities: Floats, classes: Sequence[str]) -> Metrics:
    """Measure probabilities [rows, classes] against labels; not-a-number in, not-a-number out.

    Raises:
        ValueError: there are no rows, shapes differ, or a label is none of the classes.
    """
    truth = _codes(labels, probabilities, classes)
    predicted = probabilities.argmax(axis=1)
    size = len(classes)
    confusion = np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)
    return Metrics(
        rows=len(truth),
        accuracy=float((truth == predicted).mean()),
        log_loss=float(_losses(truth, probabilities).mean()),
        roc_auc=_mean_or_none(_auc_values(truth, probabilities)),
        per_class=_per_class(confusion, classes),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def losses(labels: Sequence[str] | Series, probabilities: Floats, classes: Sequence[str]) -> Floats:
    """Compute the log loss of each row, in nats, with probabilities clipped as ``CLIP`` says.

    Raises:
        ValueError: as ``evaluate``.
    """
    return _losses(_codes(labels, probabilities, classes), probabilities)


def contributions(
    metric: str, labels: Sequence[str] | Series, probabilities: Floats, classes: Sequence[str]
) -> Floats | None:
    """Spread a metric over the rows: one value each, whose mean is the metric.

    For ``roc_auc`` these are the linear (Hájek) terms of the rank statistic, whose spread gives the
    variance of DeLong, DeLong and Clarke-Pearson (1988); none when only one class occurs.

    Raises:
        ValueError: as ``evaluate``.
    """
    truth = _codes(labels, probabilities, classes)
    if metric == "accuracy":
        return np.asarray(truth == probabilities.argmax(axis=1), dtype=np.float64)
    return _losses(truth, probabilities) if metric == "log_loss" else _auc_values(truth, probabilities)


def confusion_png(metrics: Metrics, classes: Sequence[str]) -> bytes:
    """Draw the confusion matrix: counts, and shares of each true class."""
    from matplotlib.figure import Figure

    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.9 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(title=f"accuracy {metrics.accuracy:.3f} on {metrics.rows} rows", xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]}\n{share:.1%}"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    figure.savefig(drawn := io.BytesIO(), format="png")
    return drawn.getvalue()


def markdown(metrics: Metrics, classes: Sequence[str]) -> str:
    """Write the metrics as two Markdown tables."""
    auc = "none" if metrics.roc_auc is None else f"{metrics.roc_auc:.4f}"
    lines = ["| rows | accuracy | log loss | ROC AUC |", "| ---: | ---: | ---: | ---: |"]
    lines += [f"| {metrics.rows} | {metrics.accuracy:.4f} | {metrics.log_loss:.4f} | {auc} |", ""]
    lines += ["| class | precision | recall | F1 | support |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in classes:
        one = metrics.per_class[name]
        lines.append(f"| {name} | {one.precision:.4f} | {one.recall:.4f} | {one.f1:.4f} | {one.support} |")
    return "\n".join(lines) + "\n"


def _codes(labels: Sequence[str] | Series, probabilities: Floats, classes: Sequence[str]) -> NDArray[np.int64]:
    """Check shapes, and number the labels by ``classes``."""
    # By different labels rather than by rows: a million of them take milliseconds.
    codes, different = factorize(labels if isinstance(labels, Series) else Series(list(labels), dtype=object))
    place = {name: code for code, name in enumerate(classes)}
    truth = np.array([*(place.get(label, -1) for label in different), -1], dtype=np.int64)[codes]
    if not len(truth) or probabilities.shape != (len(truth), len(classes)):
        raise ValueError(f"{len(truth)} labels of {len(classes)} classes, but probabilities {probabilities.shape}")
    if (truth < 0).any():
        raise ValueError(f"label {list(labels)[int((truth < 0).argmax())]!r} is none of {', '.join(classes)}")
    return truth


def _losses(truth: NDArray[np.int64], probabilities: Floats) -> Floats:
    true_class = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.clip(true_class, CLIP, 1.0)))


def _auc_values(truth: NDArray[np.int64], probabilities: Floats) -> Floats | None:
    """Compute per-row terms of ROC AUC: of the second of two classes, else the mean over the classes that occur."""
    columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    mixed = [code for code in columns if 0 < (truth == code).sum() < len(truth)]
    if not mixed:
        return None
    return np.asarray(np.mean([_binary_auc_values(truth == code, probabilities[:, code]) for code in mixed], axis=0))


def _binary_auc_values(positive: NDArray[np.bool_], scores: Floats) -> Floats:
    if not np.isfinite(scores).all():
        return np.full(len(scores), np.nan)
    n, n1 = len(scores), int(positive.sum())
    within = np.empty(n)
    for side in (positive, ~positive):
        within[side] = _ranks(scores[side])
    # A row's rank among all less its rank among its own side: how many of the other side it beats.
    beaten = _ranks(scores) - within
    placement = np.where(positive, beaten / (n - n1), 1 - beaten / n1)
    auc = placement[positive].mean()
    return np.asarray(auc + (placement - auc) * np.where(positive, n / n1, n / (n - n1)))


def _ranks(values: Floats) -> Floats:
    return np.asarray(Series(values).rank(), dtype=np.float64)


def _per_class(confusion: NDArray[np.int64], classes: Sequence[str]) -> dict[str, ClassMetrics]:
    hits, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(true, 1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    return {
        name: ClassMetrics(float(precision[i]), float(recall[i]), float(f1[i]), int(true[i]))
        for i, name in enumerate(classes)
    }


def _mean_or_none(values: Floats | None) -> float | None:
    return None if values is None else float(values.mean())
