"""The training of a replay: the steps of a real one, each fit done once and its cost told every time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd
from pandas import DataFrame

from mlops.core import rivals, training
from mlops.core.arrays import Floats
from mlops.core.drift import Reference, reference
from mlops.core.evaluation import evaluate
from mlops.core.promotion import decide
from mlops.core.rivals import Contest
from mlops.spec import Candidate, ModelSpec

Clock = Callable[[], float]
"""CPU seconds of this process; the core has no clock of its own."""


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted candidate, the rows that made it, and what making it cost."""

    spec: ModelSpec
    estimator: object
    train: DataFrame
    holdout: DataFrame
    answers: Floats
    """Probabilities for the holdout."""
    seconds: float
    """CPU seconds of all fits that were compared for it, whether or not an earlier policy had done them."""

    @cached_property
    def reference(self) -> Reference:
        """The profile that its windows are compared with, as in its bundle."""
        schema = self.spec.data
        inputs = self.train[[column.name for column in schema.columns]]
        return reference(inputs, schema, self.holdout[schema.target.name], self.answers, holdout=self.holdout)


@dataclass(frozen=True)
class Outcome:
    """What an answer to an alarm led to: a model, unless the gates refused it; reasons; CPU seconds."""

    model: Model | None
    reasons: tuple[str, ...]
    seconds: float


@dataclass
class Trainer:
    """Trains as the flows do; equal rows and parameters give the model of the first time."""

    spec: ModelSpec
    clock: Clock
    spent: float = 0.0
    """CPU seconds of the fits really done."""
    _fitted: dict[tuple[str, int], tuple[object, float]] = field(default_factory=dict)
    _answers: dict[tuple[int, int], tuple[object, Floats]] = field(default_factory=dict)

    def scheduled(self, past: DataFrame) -> Model:
        """Train as a scheduled run does: the training window, split, the best candidate.

        Raises:
            TrainingError: the rows cannot be trained on.
        """
        train, holdout = training.split(training.window(past, self.spec), self.spec)
        return self._best(train, holdout)

    def answer(self, past: DataFrame, onset: int, champion: Model) -> Outcome:
        """Answer an alarm as the loop does: rivals, the best candidate of each, the choice, the gates.

        Raises:
            TrainingError: no rival can be trained on.
        """
        found: Contest = rivals.contest(past, onset, self.spec)
        models = {str(rival.name): self._best(rival.train, found.holdout) for rival in found.rivals}
        labels = found.holdout[self.spec.data.target.name]
        answers = {name: model.answers for name, model in models.items()}
        choice = rivals.choose(self.spec, labels, answers, found.holdout)
        winner = models[choice.winner]
        ours = self._predict(champion.estimator, found.holdout)
        decision = decide(self.spec, labels, winner.answers, ours, None, holdout=found.holdout, newer=True)
        reasons = (found.why, choice.reason, *decision.reasons)
        seconds = sum(model.seconds for model in models.values())
        return Outcome(winner if decision.accepted else None, reasons, seconds)

    def probabilities(self, model: Model, rows: DataFrame, window: int) -> Floats:
        """Answer a window, once for each model."""
        key = (id(model.estimator), window)
        if key not in self._answers:
            # The estimator is kept beside its answers, so that no other one gets its id.
            self._answers[key] = (model.estimator, self._predict(model.estimator, rows))
        return self._answers[key][1]

    def _best(self, train: DataFrame, holdout: DataFrame) -> Model:
        """Fit all candidates; the best holdout value of the spec's metric wins, the first of equals."""
        fitted = list(self._fits(self.spec.training.candidates, train))
        models = [
            Model(self.spec, estimator, train, holdout, self._predict(estimator, holdout), seconds)
            for estimator, seconds in fitted
        ]
        best = max(models, key=self._score)
        return Model(self.spec, best.estimator, train, holdout, best.answers, sum(seconds for _, seconds in fitted))

    def _fits(self, candidates: Sequence[Candidate], train: DataFrame) -> Iterator[tuple[object, float]]:
        rows = _digest(train)
        for position, candidate in enumerate(candidates):
            if (rows, position) not in self._fitted:
                begun = self.clock()
                estimator = training.fit(candidate, self.spec, train)
                seconds = self.clock() - begun
                self._fitted[rows, position] = (estimator, seconds)
                self.spent += seconds
            yield self._fitted[rows, position]

    def _score(self, model: Model) -> float:
        metric, target = self.spec.training.metric, self.spec.data.target
        value = getattr(evaluate(model.holdout[target.name], model.answers, target.classes), metric)
        return float("-inf") if value is None else -value if metric == "log_loss" else value

    def _predict(self, estimator: object, rows: DataFrame) -> Floats:
        return training.probabilities(estimator, rows, self.spec.data)


def _digest(frame: DataFrame) -> str:
    return str(hash(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()))
