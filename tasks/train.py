"""Tasks of training: a snapshot becomes candidates, the best one a registered bundle."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from prefect import task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from mlops.adapters import bundles
from mlops.adapters.code import code_digest
from mlops.adapters.registry import Version
from mlops.core import evaluation, rivals, training
from mlops.core.assembly import bundle_files
from mlops.core.bundle import LINEAGE, Lineage
from mlops.core.evaluation import Metrics
from mlops.core.rivals import Choice, Contest, Rival
from mlops.spec import Candidate, ModelSpec
from tasks.context import ModelContext, newest_snapshot, open_model
from tasks.network import network_task
from tasks.windows import find_alarm

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.base import ClassifierMixin


@dataclass(frozen=True)
class Rows:
    """The rows of one training run: one or two training sets and the holdout that judges them."""

    snapshot: str
    contest: Contest
    onset: datetime | None

    def train(self, rival: str) -> "pd.DataFrame":
        """The training set of a rival."""
        return next(each.train for each in self.contest.rivals if each.name == rival)


@dataclass(frozen=True)
class Entrant:
    """A candidate on the training set of a rival."""

    candidate: str
    rival: str

    def __str__(self) -> str:
        return self.candidate if self.rival == rivals.SLIDING else f"{self.candidate} {self.rival}"


@dataclass(frozen=True)
class Trained:
    """A fitted candidate and how it did on the holdout."""

    entrant: Entrant
    estimator: "ClassifierMixin"
    metrics: Metrics
    answers: "np.ndarray"
    """Probabilities on the holdout [rows, classes]."""
    run_id: str


@dataclass(frozen=True)
class Best:
    """The candidate that becomes a bundle, and why its training set won."""

    trained: Trained
    choice: Choice


@network_task("load rows")
def load_rows(model: str, snapshot: str | None, alarm: str | None) -> Rows:
    """Load a snapshot (the newest unless named), cut to the training window, and hold rows out.

    With an alarm, the data since its onset are a training set of their own, where they suffice.
    """
    context = open_model(model)
    snapshot = snapshot or newest_snapshot(context)
    onset = find_alarm(context, alarm).moment if alarm else None
    return Rows(snapshot, contest_of(context, snapshot, onset), onset)


def contest_of(context: ModelContext, snapshot: str, onset: datetime | None) -> Contest:
    """Split a snapshot's rows: as every training does, or between the rivals that an alarm calls for."""
    spec = context.spec
    if onset is None:
        frame = context.snapshots.load(snapshot, spec.data, spec.training.window_days)
        train, holdout = training.split(frame, spec)
        return Contest((Rival(rivals.SLIDING, train),), holdout, "no alarm")
    frame = context.snapshots.rows(snapshot, spec.data, spec.training.window_days)
    return rivals.contest(frame, rivals.position(frame, onset, spec.data), spec)


@task(name="name entrants", cache_policy=NO_CACHE)
def entrants(model: str, rows: Rows) -> list[Entrant]:
    """Every candidate on every rival's training set."""
    names = [candidate.name for candidate in open_model(model).spec.training.candidates]
    return [Entrant(name, rival.name) for rival in rows.contest.rivals for name in names]


@task(name="fit", task_run_name="fit {entrant}", cache_policy=NO_CACHE)
def fit_candidate(model: str, entrant: Entrant, rows: Rows) -> tuple["ClassifierMixin", "np.ndarray"]:
    """Fit one candidate and let it answer the holdout."""
    spec = open_model(model).spec
    chosen = _candidate(spec, entrant)
    estimator = training.fit(chosen, spec, rows.train(entrant.rival))
    return estimator, training.probabilities(estimator, rows.contest.holdout, spec.data)


@network_task("track {entrant}", timeout=None)
def track_candidate(
    model: str, entrant: Entrant, rows: Rows, fitted: tuple["ClassifierMixin", "np.ndarray"]
) -> Trained:
    """Record a candidate as an MLflow run with its parameters, metrics and lineage."""
    context = open_model(model)
    estimator, answers = fitted
    target = context.spec.data.target
    metrics = evaluation.evaluate(rows.contest.holdout[target.name], answers, target.classes)
    chosen = _candidate(context.spec, entrant)
    run_id = context.registry.log_run(
        model,
        name=str(entrant),
        params={"estimator": chosen.estimator, "trained_on": entrant.rival, **chosen.params},
        metrics=metrics.scalars,
        tags={"snapshot": rows.snapshot, "spec": context.spec.digest, "code": code_digest()},
    )
    return Trained(entrant, estimator, metrics, answers, run_id)


@task(name="choose the best", task_run_name="choose the best", cache_policy=NO_CACHE)
def choose_best(model: str, rows: Rows, trained: list[Trained]) -> Best:
    """The best candidate of each rival by the spec's metric, and of these the winner of the paired comparison."""
    spec = open_model(model).spec
    best = {
        rival.name: _best(spec, [t for t in trained if t.entrant.rival == rival.name]) for rival in rows.contest.rivals
    }
    labels = rows.contest.holdout[spec.data.target.name]
    choice = rivals.choose(spec, labels, {name: each.answers for name, each in best.items()}, rows.contest.holdout)
    return Best(next(each for name, each in best.items() if name == choice.winner), choice)


def _candidate(spec: ModelSpec, entrant: Entrant) -> Candidate:
    return next(each for each in spec.training.candidates if each.name == entrant.candidate)


def _best(spec: ModelSpec, trained: list[Trained]) -> Trained:
    """The one with the best holdout value of the spec's metric; the first of equals."""
    sign = -1 if spec.training.metric == "log_loss" else 1

    def score(each: Trained) -> float:
        value = getattr(each.metrics, spec.training.metric)
        return float("-inf") if value is None else sign * value

    return max(trained, key=score)


@network_task("register bundle", timeout=300)
def register_bundle(model: str, best: Best, rows: Rows) -> Version:
    """Store the best candidate as a bundle and register it; the same bundle is registered once."""
    context, won = open_model(model), best.trained
    files = bundle_files(
        context.spec,
        rows.snapshot,
        _candidate(context.spec, won.entrant),
        won.estimator,
        rows.train(won.entrant.rival),
        rows.contest.holdout,
        won.metrics,
    )
    onset = rows.onset.isoformat() if rows.onset else ""
    files[LINEAGE] = msgspec.json.encode(
        Lineage(rival=won.entrant.rival, onset=onset, reason=f"{best.choice.reason} ({rows.contest.why})")
    )
    digest = bundles.save(context.store, model, rows.snapshot, files)
    shown = {name: files[name] for name in ("model.onnx", "model.json", "metrics.json", "card.md") if name in files}
    return context.registry.register(model, won.run_id, digest, rows.snapshot, shown)


@task(name="publish metrics", task_run_name="publish metrics", cache_policy=NO_CACHE)
def publish_metrics(model: str, version: Version, trained: list[Trained], best: Best) -> None:
    """Show the version's metrics table and confusion matrix as artifacts."""
    context = open_model(model)
    classes = context.spec.data.target.classes
    metrics = bundles.decode(context.store, model, version.digest, "metrics.json", Metrics)
    candidates = "\n".join(f"| {' | '.join(_compared(each))} |" for each in trained)
    create_markdown_artifact(
        key=f"{model}-metrics",
        description=f"{model} version {version.version}",
        markdown=(
            f"# {model} version {version.version}\n\nBundle `{version.digest}`\n\nSnapshot `{version.snapshot}`\n\n"
            f"{evaluation.markdown(metrics, classes)}\n\n"
            "## Candidates\n\n| candidate | trained on | accuracy | log loss | ROC AUC |\n"
            "| --- | --- | --- | --- | --- |\n"
            f"{candidates}\n\nChosen: {best.trained.entrant.candidate}, {best.choice.reason}.\n"
        ),
    )
    picture = base64.b64encode(evaluation.confusion_png(metrics, classes)).decode()
    create_image_artifact(
        key=f"{model}-confusion-matrix",
        image_url=f"data:image/png;base64,{picture}",
        description=f"{model} version {version.version}: rows are true classes, columns predicted ones (holdout).",
    )


def _compared(each: Trained) -> tuple[str, ...]:
    metrics = each.metrics
    numbers = (f"{metrics.accuracy:.4f}", f"{metrics.log_loss:.4f}", _text(metrics.roc_auc))
    return each.entrant.candidate, each.entrant.rival, *numbers


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
