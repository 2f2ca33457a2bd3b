"""Replay: what each policy of retraining would have done with a labelled past, window by window.

A window is answered by the model of its beginning. When it closes, its labels are known, and the
policy decides with them and with older rows alone; a model that it trains answers from the next
window on. So nothing that a policy does can depend on a later row.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from mlops.core.evaluation import losses
from mlops.core.policies import Moment, Policy, Scheduled, Step, evenly
from mlops.core.stream import Span, Stream, StreamError
from mlops.core.trainer import Model, Trainer
from mlops.core.training import TrainingError
from mlops.spec import ModelSpec

Progress = Callable[[str, int, int], None]
"""Told the policy, the windows done and how many there are."""


class WindowResult(msgspec.Struct, frozen=True, kw_only=True):
    """One window under one policy; ``verdict`` is the policy's, ``none`` where it gives none."""

    window: int
    """Its number, from 1 at the beginning of the data."""
    name: str
    rows: int
    accuracy: float
    log_loss: float
    """In nats a row."""
    verdict: str
    version: str
    """Of the model that answered; the first one is 1."""
    retrained: bool = False
    """Whether a training followed the window."""
    released: bool = False
    """Whether its model answers from the next window on."""
    reasons: tuple[str, ...] = ()


class Delay(msgspec.Struct, frozen=True):
    """A known change, and the first alarm from its window on and before the next change."""

    row: int
    window: int
    alarm: int | None
    """Window of the alarm; none: it was missed."""
    windows: int | None
    """Windows from the change to the alarm, 0 in the same one."""


class PolicyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would have given and cost."""

    accuracy: float
    log_loss: float
    retrains: int
    """Trainings, those that the gates refused included; the first model is not counted."""
    alarms: tuple[int, ...]
    """Numbers of the windows whose verdict asked for a retraining."""
    cpu_seconds: float
    """Of trainings and decisions; a fit that policies share counts for each of them."""
    windows: tuple[WindowResult, ...]
    delays: tuple[Delay, ...] = ()
    false_alarms: int | None = None
    """Alarms before the first known change; none where no change is known."""


def replay(
    stream: Stream,
    spec: ModelSpec,
    policies: Mapping[str, Policy],
    clock: Callable[[], float],
    changes: Sequence[int] = (),
    progress: Progress = lambda *_: None,
) -> tuple[dict[str, PolicyResult], dict[str, PolicyResult]]:
    """Run every policy over a past, then for each trigger that retrained a control of evenly spaced retrainings.

    Args:
        stream: rows and windows.
        spec: the model.
        policies: by name, in the order of the result.
        clock: CPU seconds of this process.
        changes: positions of rows with which the world is known to have changed.
        progress: told after each window.

    Returns:
        Results by policy, and the controls by the name of the policy that each one controls.

    Raises:
        StreamError: the first model cannot be trained.
    """
    trainer = Trainer(spec, clock)
    first = _first(stream, trainer)

    def run(name: str, policy: Policy) -> PolicyResult:
        result = _run(stream, trainer, first, policy, lambda at, of: progress(name, at, of))
        return _with_delays(result, stream, changes)

    results = {name: run(name, policy) for name, policy in policies.items()}
    controls = {
        name: run(f"control of {name}", evenly(result.retrains, stream.judged))
        for name, result in results.items()
        if result.retrains and not isinstance(policies[name], Scheduled)
    }
    return results, controls


def _first(stream: Stream, trainer: Trainer) -> Model:
    rows = stream.judged[0].start
    try:
        return trainer.scheduled(stream.frame.iloc[:rows])
    except TrainingError as error:
        raise StreamError(
            f"the first {rows} rows train no first model: {error}; give more of them (--train)"
        ) from error


def _run(
    stream: Stream, trainer: Trainer, model: Model, policy: Policy, progress: Callable[[int, int], None]
) -> PolicyResult:
    version, seconds, judged = 1, 0.0, []
    for window in stream.judged:
        past = stream.frame.iloc[: window.stop]
        answers = trainer.probabilities(model, past.iloc[window.start :], window.number)
        moment = Moment(window, past, answers, model, str(version), trainer)
        step, spent = _decide(policy, moment, last=window is stream.judged[-1])
        seconds += spent
        judged.append(_judged(moment, step))
        if step.model is not None:
            model, version = step.model, version + 1
        progress(len(judged), len(stream.judged))
    return _summed(judged, seconds)


def _decide(policy: Policy, moment: Moment, last: bool) -> tuple[Step, float]:
    """Ask the policy; return its step and CPU seconds. A model trained after the last window would answer nothing."""
    trainer = moment.trainer
    begun, done = trainer.clock(), trainer.spent
    step = policy.after(moment)
    deciding = trainer.clock() - begun - (trainer.spent - done)
    if last:
        step = Step(step.verdict, step.alarm, reasons=step.reasons)
    return step, max(0.0, deciding) + step.training_seconds


def _judged(moment: Moment, step: Step) -> WindowResult:
    target, rows = moment.trainer.spec.data.target, moment.rows
    truth = rows[target.name].map({name: code for code, name in enumerate(target.classes)}).to_numpy()
    return WindowResult(
        window=moment.window.number,
        name=moment.window.name,
        rows=len(rows),
        accuracy=float((moment.probabilities.argmax(axis=1) == truth).mean()),
        log_loss=float(losses(rows[target.name], moment.probabilities, target.classes).mean()),
        verdict=step.verdict,
        version=moment.version,
        retrained=step.trained,
        released=step.model is not None,
        reasons=step.reasons,
    )


def _summed(judged: Sequence[WindowResult], seconds: float) -> PolicyResult:
    rows = np.array([each.rows for each in judged], dtype=np.float64)
    return PolicyResult(
        accuracy=float(np.average([each.accuracy for each in judged], weights=rows)),
        log_loss=float(np.average([each.log_loss for each in judged], weights=rows)),
        retrains=sum(each.retrained for each in judged),
        alarms=tuple(each.window for each in judged if each.verdict == "retrain"),
        cpu_seconds=seconds,
        windows=tuple(judged),
    )


def _with_delays(result: PolicyResult, stream: Stream, changes: Sequence[int]) -> PolicyResult:
    known = sorted(row for row in changes if row >= stream.judged[0].start)
    if not known:
        return result
    begun = [_window_of(row, stream.windows) for row in known]
    ends = [*begun[1:], stream.windows[-1].number + 1]
    delays = []
    for row, window, end in zip(known, begun, ends, strict=True):
        alarm = next((number for number in result.alarms if window <= number < end), None)
        delays.append(Delay(row, window, alarm, None if alarm is None else alarm - window))
    false = sum(number < begun[0] for number in result.alarms)
    return msgspec.structs.replace(result, delays=tuple(delays), false_alarms=false)


def _window_of(row: int, windows: Sequence[Span]) -> int:
    return next((window.number for window in windows if row < window.stop), windows[-1].number)
