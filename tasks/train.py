"""Tasks of training: a snapshot becomes candidates, the best one a registered bundle."""

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from mlops.adapters import bundles
from mlops.adapters.code import code_digest
from mlops.adapters.registry import Version
from mlops.core import evaluation, training
from mlops.core.assembly import bundle_files
from mlops.core.evaluation import Metrics
from tasks.context import open_model
from tasks.network import Refused, network_task

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.base import ClassifierMixin


@dataclass(frozen=True)
class Split:
    """The rows of one training run."""

    snapshot: str
    train: "pd.DataFrame"
    holdout: "pd.DataFrame"


@dataclass(frozen=True)
class Trained:
    """A fitted candidate and how it did on the holdout."""

    name: str
    estimator: "ClassifierMixin"
    metrics: Metrics
    run_id: str


@network_task("load rows")
def load_rows(model: str, snapshot: str | None) -> Split:
    """Load a snapshot (the newest unless named), cut to the training window, and hold rows out."""
    context = open_model(model)
    snapshot = snapshot or context.snapshots.latest()
    if snapshot is None:
        raise Refused(f"{model} has no snapshot yet: put files under {model}/landing/ and run the flow ingestion")
    frame = context.snapshots.load(snapshot, context.spec.data, context.spec.training.window_days)
    train, holdout = training.split(frame, context.spec)
    return Split(snapshot, train, holdout)


@task(name="fit", task_run_name="fit {candidate}", cache_policy=NO_CACHE)
def fit_candidate(model: str, candidate: str, split: Split) -> tuple["ClassifierMixin", Metrics]:
    """Fit one candidate and evaluate it on the holdout."""
    spec = open_model(model).spec
    chosen = next(each for each in spec.training.candidates if each.name == candidate)
    estimator = training.fit(chosen, spec, split.train)
    probabilities = training.probabilities(estimator, split.holdout, spec.data)
    return estimator, evaluation.evaluate(split.holdout[spec.data.target.name], probabilities, spec.data.target.classes)


@network_task("track {candidate}", timeout=None)
def track_candidate(model: str, candidate: str, split: Split, fitted: tuple["ClassifierMixin", Metrics]) -> Trained:
    """Record a candidate as an MLflow run with its parameters, metrics and lineage."""
    context = open_model(model)
    estimator, metrics = fitted
    chosen = next(each for each in context.spec.training.candidates if each.name == candidate)
    run_id = context.registry.log_run(
        model,
        name=candidate,
        params={"estimator": chosen.estimator, **chosen.params},
        metrics=_scalars(metrics),
        tags={"snapshot": split.snapshot, "spec": context.spec.digest, "code": code_digest()},
    )
    return Trained(candidate, estimator, metrics, run_id)


@task(name="choose the best", task_run_name="choose the best", cache_policy=NO_CACHE)
def choose_best(model: str, trained: list[Trained]) -> Trained:
    """The candidate with the best holdout value of the spec's metric; the first of equals."""
    metric = open_model(model).spec.training.metric
    sign = -1 if metric == "log_loss" else 1

    def score(each: Trained) -> float:
        value = getattr(each.metrics, metric)
        return float("-inf") if value is None else sign * value

    return max(trained, key=score)


@network_task("register bundle", timeout=300)
def register_bundle(model: str, best: Trained, split: Split) -> Version:
    """Store the best candidate as a bundle and register it; the same bundle is registered once."""
    context = open_model(model)
    chosen = next(each for each in context.spec.training.candidates if each.name == best.name)
    files = bundle_files(context.spec, split.snapshot, chosen, best.estimator, split.train, split.holdout, best.metrics)
    digest = bundles.save(context.store, model, split.snapshot, files)
    shown = {name: files[name] for name in ("model.onnx", "model.json", "metrics.json", "card.md") if name in files}
    return context.registry.register(model, best.run_id, digest, split.snapshot, shown)


@task(name="publish metrics", task_run_name="publish metrics", cache_policy=NO_CACHE)
def publish_metrics(model: str, version: Version, trained: list[Trained]) -> None:
    """Show the version's metrics table and confusion matrix as artifacts."""
    classes = open_model(model).spec.data.target.classes
    metrics = msgspec.json.decode(
        bundles.load(open_model(model).store, model, version.digest, "metrics.json")["metrics.json"], type=Metrics
    )
    candidates = "\n".join(
        f"| {each.name} | {each.metrics.accuracy:.4f} | {each.metrics.log_loss:.4f} | {_text(each.metrics.roc_auc)} |"
        for each in trained
    )
    create_markdown_artifact(
        key=f"{model}-metrics",
        description=f"{model} version {version.version}",
        markdown=(
            f"# {model} version {version.version}\n\nBundle `{version.digest}`\n\nSnapshot `{version.snapshot}`\n\n"
            f"{evaluation.markdown(metrics, classes)}\n\n"
            f"## Candidates\n\n| candidate | accuracy | log loss | ROC AUC |\n| --- | --- | --- | --- |\n{candidates}\n"
        ),
    )
    picture = base64.b64encode(evaluation.confusion_png(metrics, classes)).decode()
    create_image_artifact(
        key=f"{model}-confusion-matrix",
        image_url=f"data:image/png;base64,{picture}",
        description=f"{model} version {version.version}: rows are true classes, columns predicted ones (holdout).",
    )


def _scalars(metrics: Metrics) -> dict[str, float]:
    named = {"accuracy": metrics.accuracy, "log_loss": metrics.log_loss, "roc_auc": metrics.roc_auc}
    return {name: value for name, value in named.items() if value is not None} | {"holdout_rows": float(metrics.rows)}


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
