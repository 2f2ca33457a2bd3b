"""When to retrain: the policies that a replay compares, each told the past and nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from pandas import DataFrame, Series, concat

from mlops.core import rivals
from mlops.core.arrays import Floats
from mlops.core.outcome import measure
from mlops.core.refresh import Attempt, attempt, moved, reason, refresh_due, settled
from mlops.core.rivals import Progress
from mlops.core.stream import Span
from mlops.core.trainer import Model, Trainer
from mlops.core.training import TrainingError
from mlops.core.verdict import Verdict, judge
from mlops.spec import ModelSpec

NAMES = ("never", "always", "every:N", "evidently", "ours")


class PolicyError(ValueError):
    """There is no such policy; the message lists those there are."""


@dataclass(frozen=True)
class Moment:
    """All that is known when a window closes: its rows, its labels, and everything before it."""

    window: Span
    past: DataFrame
    """Typed, labelled rows up to the end of the window, in order."""
    probabilities: Floats
    """What the model answered for the rows of the window."""
    model: Model
    version: str
    trainer: Trainer

    @property
    def rows(self) -> DataFrame:
        """The window's own rows."""
        return self.past.iloc[self.window.start : self.window.stop].reset_index(drop=True)


@dataclass(frozen=True)
class Step:
    """What a policy does at the end of a window."""

    verdict: str
    alarm: bool = False
    trained: bool = False
    """Whether there was a retraining, released or not."""
    model: Model | None = None
    """The model that answers from now on; none: the old one."""
    training_seconds: float = 0.0
    reasons: tuple[str, ...] = ()


class Policy(Protocol):
    """Decides at the end of each window; made anew for each replay, so it may remember."""

    def after(self, moment: Moment) -> Step:
        """Return what to do before the next window; CPU time besides training is measured around this."""
        ...


@dataclass
class Scheduled:
    """Retrains on the sliding window and releases it, after the windows of these numbers."""

    numbers: frozenset[int]

    def after(self, moment: Moment) -> Step:
        """Retrain when it is due."""
        return retrain(moment, "scheduled") if moment.window.number in self.numbers else Step("none")


@dataclass
class Trial:
    """A refresh: the model that it replaced, the fresh one (none: refused), and what both answered since."""

    old: Model
    fresh: Model | None
    moved: bool
    broken: bool = False
    """Whether the fresh model alarmed: what a sudden change does to both says nothing of what refreshing is worth."""
    labels: list[Series] = field(default_factory=list)
    answers: list[Floats] = field(default_factory=list)
    without: list[Floats] = field(default_factory=list)

    def see(self, moment: Moment) -> None:
        """Compare on a window that the fresh model answered."""
        if moment.model is self.fresh:
            self.labels.append(moment.rows[moment.trainer.spec.data.target.name])
            self.answers.append(moment.probabilities)
            self.without.append(moment.trainer.probabilities(self.old, moment.rows, moment.window.number))

    def attempt(self, spec: ModelSpec) -> Attempt:
        """What it came to by now."""
        if self.fresh is None:
            return attempt(None, self.moved)
        if self.broken or not self.labels:
            return Attempt(moved=self.moved)
        labels = concat(self.labels, ignore_index=True)
        answers, without = np.concatenate(self.answers), np.concatenate(self.without)
        return attempt(measure(labels, answers, without, spec.data.target.classes, None), self.moved)


@dataclass
class Ours:
    """The loop: verdict, rivals since the alarm, gates, follow-ups until the window is all new, refreshes."""

    history: list[Verdict] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """First row of each judged window."""
    onset: int | None = None
    progress: Progress | None = None
    """Of the last training for the alarm; none: no alarm is open."""
    follows: int = 0
    """Follow-ups of the alarm to come before a refresh is tried."""

    trials: list[Trial] = field(default_factory=list)
    """Of each refresh, oldest first."""
    waited: int = 0
    """Windows since the last training."""
    small: list[tuple[str, Span, Floats]] = field(default_factory=list)
    """Version, window and answers of the windows just before that had too few rows for a verdict."""

    def after(self, moment: Moment) -> Step:
        """Judge the window; answer an alarm, or follow one up."""
        spec, verdict = moment.trainer.spec, self._judge(moment)
        self.history.append(verdict)
        self.starts.append(moment.window.start)
        self.waited += 1
        if self.trials:
            self.trials[-1].see(moment)
        if verdict.verdict == "retrain":
            if self.trials and self.trials[-1].fresh is moment.model:
                self.trials[-1].broken = True
            self.onset = self._onset(verdict, spec.drift.of)
            self.progress = rivals.progress(moment.past, self.onset, spec)
            self.follows = rivals.CLOSE_FOLLOW_UPS
            return self._answer(moment, verdict, self.onset, "", alarm=True)
        if self.onset is not None and self.progress is not None:
            now = rivals.progress(moment.past, self.onset, spec)
            if rivals.follow_up(self.progress, now):
                self.progress, self.follows = now, self.follows - 1
                return self._answer(moment, verdict, self.onset, "A follow-up: there are more rows since the alarm.")
            if self.follows and not self.progress.complete:
                return Step(verdict.verdict, reasons=verdict.reasons)
        attempts = [trial.attempt(spec) for trial in self.trials]
        windows = settled(self.history[-self.waited :])
        if refresh_due(spec.drift, attempts, windows, verdict):
            why = f"No alarm: {reason(spec.drift, attempts, windows)}"
            step = self._answer(moment, verdict, self.starts[-self.waited], why)
            self.trials.append(Trial(moment.model, step.model, moved(verdict)))
            return step
        return Step(verdict.verdict, reasons=verdict.reasons)

    def _judge(self, moment: Moment) -> Verdict:
        """Judge the window together with the small ones just before it that the same version answered."""
        spec = moment.trainer.spec
        pool = [each for each in self.small if each[0] == moment.version]
        first = pool[0][1].start if pool else moment.window.start
        rows = moment.past.iloc[first : moment.window.stop].reset_index(drop=True)
        verdict = judge(
            moment.model.reference,
            rows,
            np.concatenate([*(answers for _, _, answers in pool), moment.probabilities]),
            rows[spec.data.target.name],
            spec.data,
            spec.drift,
            moment.version,
            self.history,
        )
        small = verdict.waits_for == "rows"
        self.small = [*pool, (moment.version, moment.window, moment.probabilities)] if small else []
        return verdict

    def _onset(self, verdict: Verdict, of: int) -> int:
        same = [at for at, each in enumerate(self.history) if each.version == verdict.version]
        return self.starts[same[rivals.beginning([self.history[at] for at in same], of)]]

    def _answer(self, moment: Moment, verdict: Verdict, onset: int, why: str, alarm: bool = False) -> Step:
        reasons = (*verdict.reasons, why) if why else verdict.reasons
        self.waited = 0
        try:
            outcome = moment.trainer.answer(moment.past, onset, moment.model)
        except TrainingError as error:
            return Step(verdict.verdict, alarm, reasons=(*reasons, f"Nothing was trained: {error}."))
        return Step(verdict.verdict, alarm, True, outcome.model, outcome.seconds, (*reasons, *outcome.reasons))


def retrain(moment: Moment, verdict: str, alarm: bool = False) -> Step:
    """Train on the sliding window and release what comes, without any gate."""
    try:
        model = moment.trainer.scheduled(moment.past)
    except TrainingError as error:
        return Step(verdict, alarm, reasons=(f"Nothing was trained: {error}.",))
    return Step(verdict, alarm, True, model, model.seconds)


def scheduled(name: str, windows: Sequence[Span]) -> Scheduled | None:
    """Make ``never``, ``always`` or ``every:N``; none for a policy that looks at the data.

    Raises:
        PolicyError: there is no policy of this name.
    """
    if name in ("evidently", "ours"):
        return None
    if name in ("never", "always"):
        return every(0 if name == "never" else 1, windows)
    if found := re.fullmatch(r"every:([1-9]\d{0,5})", name):
        return every(int(found[1]), windows)
    raise PolicyError(f"there is no policy {name!r}; there are: {', '.join(NAMES)} (N windows)")


def every(interval: int, windows: Sequence[Span]) -> Scheduled:
    """Retrain after every so many windows; 0: never. After the last window nothing is left to gain."""
    due = windows[interval - 1 : -1 : interval] if interval else ()
    return Scheduled(frozenset(window.number for window in due))


def evenly(count: int, windows: Sequence[Span]) -> Scheduled:
    """Spread so many retrainings evenly: the control that a trigger of as many must beat."""
    count = min(count, len(windows) - 1)
    ends = [round((step + 1) * len(windows) / (count + 1)) for step in range(count)]
    return Scheduled(frozenset(windows[min(end, len(windows) - 1) - 1].number for end in ends if end))
