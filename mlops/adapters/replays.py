"""A replay as the command, the flow and the benchmark run it: policies by name, the clock, one result."""

import time
from collections.abc import Mapping, Sequence

import msgspec

from mlops.core.advice import Advice, advise, rows, text
from mlops.core.past import Past
from mlops.core.policies import Ours, Policy, PolicyError, scheduled
from mlops.core.replay import PolicyResult, Progress, replay
from mlops.core.stream import Span


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """All of a replay: what was replayed, results, controls, recommendation."""

    rows: int
    learnt: int
    """Rows that the first model learns from."""
    windows: int
    """Windows that are judged."""
    target: str
    metric: str
    cpu_seconds: float
    """Of the whole replay; policies share fits, so it is less than their sum."""
    notes: tuple[str, ...]
    policies: dict[str, PolicyResult]
    controls: dict[str, PolicyResult]
    recommendation: Advice


def policies_for(names: str, windows: Sequence[Span]) -> dict[str, Policy]:
    """Make the policies that a comma-separated list names.

    Raises:
        PolicyError: there is no such policy, or the list is empty.
    """
    found: dict[str, Policy] = {}
    for name in filter(None, (name.strip() for name in names.split(","))):
        policy: Policy | None = scheduled(name, windows)
        if policy is None and name == "evidently":
            from mlops.adapters.evidently_drift import Evidently

            policy = Evidently()
        found[name] = policy or Ours()
    if not found:
        raise PolicyError("name one policy at least")
    return found


def replayed(
    past: Past, policies: Mapping[str, Policy], changes: Sequence[int] = (), progress: Progress = lambda *_: None
) -> Replay:
    """Replay a past and recommend a policy.

    Raises:
        StreamError: the first model cannot be trained.
    """
    begun = time.process_time()
    results, controls = replay(past.stream, past.spec, policies, time.process_time, changes, progress)
    metric = past.spec.training.metric
    return Replay(
        rows=len(past.stream.frame),
        learnt=past.stream.judged[0].start,
        windows=len(past.stream.judged),
        target=past.spec.data.target.name,
        metric=metric,
        cpu_seconds=time.process_time() - begun,
        notes=past.notes,
        policies=results,
        controls=controls,
        recommendation=advise(results, controls, metric),
    )


def report(found: Replay) -> str:
    """Write the result for a terminal."""
    reasons = "\n".join(f"  - {reason}" for reason in found.recommendation.reasons)
    return (
        f"{found.rows} rows: the first {found.learnt} train the first model, then {found.windows} windows;"
        f" {found.cpu_seconds:.0f} CPU s.\n\n{text(rows(found.policies, found.controls))}\n\n"
        f"Recommended: {found.recommendation.policy}\n{reasons}\n"
    )
