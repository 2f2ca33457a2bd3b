"""The retraining loop against schedules: simulated streams with known changes, and a real year of flights by week.

Streams are drawn anew for each seed; what is reported is the mean over seeds with its 95 % interval.
Run by ``make bench``; ``python -m benchmarks.replay --help`` for a shorter one.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from benchmarks.results import insert, machine, now
from benchmarks.streams import KINDS

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
WINDOW = 1000
ROWS = {"abrupt": 80_000, "gradual": 24_000, "recurring": 36_000, "prior": 24_000, "virtual": 24_000, "still": 24_000}
POLICIES = "never,always,ours"
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t by the number of values, two-sided 95 %."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One replay in numbers; the keys are policies, ``control`` is the loop's."""

    kind: str
    seed: int
    accuracy: dict[str, float]
    log_loss: dict[str, float]
    retrains: dict[str, int]
    cpu_seconds: dict[str, float]
    alarms: int
    false_alarms: int | None
    delays: tuple[int | None, ...]
    wall: float


def simulate(kind: str, seed: int) -> Run:
    """Replay one stream, with the types, the classifier and the loop that ``mlops replay`` has without a spec."""
    from mlops.core.past import Asked, prepare

    frame, changes = KINDS[kind](seed, ROWS[kind])
    past = prepare(frame.astype(str), kind, Asked(target="y", window=WINDOW))
    return _run(kind, seed, past, POLICIES, changes)


def flights() -> Run:
    """Replay the year by week with the model of ``deployments/models/flights.yaml``."""
    from mlops.adapters.datasets import flights_weeks
    from mlops.core.past import Asked, prepare_rows
    from mlops.spec import load

    spec = load(Path(__file__).parents[1] / "deployments" / "models", "flights")
    frame = pd.concat(flights_weeks().values(), ignore_index=True)
    past = prepare_rows(frame[frame["late"] != ""].reset_index(drop=True), "flights", Asked(), spec)
    return _run("flights", 0, past, "never,always,every:2,ours", [])


def _run(kind: str, seed: int, past: Any, policies: str, changes: list[int]) -> Run:
    from mlops.adapters.replays import policies_for, replayed

    begun = time.monotonic()
    found = replayed(past, policies_for(policies, past.stream.judged), changes)
    every = found.policies | ({"control": found.controls["ours"]} if "ours" in found.controls else {})
    ours = found.policies["ours"]
    return Run(
        kind=kind,
        seed=seed,
        accuracy={name: each.accuracy for name, each in every.items()},
        log_loss={name: each.log_loss for name, each in every.items()},
        retrains={name: each.retrains for name, each in every.items()},
        cpu_seconds={name: each.cpu_seconds for name, each in every.items()},
        alarms=len(ours.alarms),
        false_alarms=ours.false_alarms,
        delays=tuple(delay.windows for delay in ours.delays),
        wall=time.monotonic() - begun,
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); infinite for a single value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, float("inf")
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return mean, T95.get(len(values), 2.2) * spread / len(values) ** 0.5


def render(runs: Sequence[Run]) -> str:
    """Write the section: streams by kind, then the flights."""
    kinds = [kind for kind in KINDS if any(run.kind == kind for run in runs)]
    parts = [
        "## The retraining loop",
        f"{now()}; {machine()}.",
        f"Streams of {min(ROWS.values()):,} to {ROWS['abrupt']:,} rows, windows of {WINDOW:,}, the first tenth trains"
        " the first model (scikit-learn's histogram gradient boosting), labels known when a window closes."
        " *always* retrains after every window on a sliding window as long as the first tenth. Differences are the"
        " loop's less another policy's, means over seeds with 95 % intervals; delays are windows from a change to"
        " its alarm.",
        _streams([[run for run in runs if run.kind == kind] for kind in kinds]),
    ]
    for run in runs:
        if run.kind == "flights":
            parts += ["### A real year of flights by week", _flights(run)]
    return "\n\n".join(parts) + "\n"


def _streams(groups: Sequence[Sequence[Run]]) -> str:
    lines = [
        "| change | seeds | accuracy: ours | less always | less evenly spaced | log loss less always | retrains: ours,"
        " always | delays | false alarms |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for runs in groups:
        delays = [delay for run in runs for delay in run.delays]
        shown = ", ".join(
            "missed" if each is None else str(each) for each in sorted(delays, key=lambda d: (d is None, d))
        )
        false = sum(run.alarms if run.false_alarms is None else run.false_alarms for run in runs)
        controlled = [run for run in runs if "control" in run.accuracy]
        cells = [
            runs[0].kind,
            str(len(runs)),
            _mean([run.accuracy["ours"] for run in runs]),
            _mean([run.accuracy["ours"] - run.accuracy["always"] for run in runs], signed=True),
            _mean([run.accuracy["ours"] - run.accuracy["control"] for run in controlled], signed=True),
            _mean([run.log_loss["ours"] - run.log_loss["always"] for run in runs], signed=True),
            f"{sum(run.retrains['ours'] for run in runs) / len(runs):.1f}, {runs[0].retrains['always']}",
            shown or "no change",
            str(false),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _flights(run: Run) -> str:
    lines = ["| policy | log loss | accuracy | retrains | CPU s |", "| --- | --: | --: | --: | --: |"]
    for name, loss in run.log_loss.items():
        shown = "evenly spaced, as often as ours" if name == "control" else name
        lines.append(
            f"| {shown} | {loss:.4f} | {run.accuracy[name]:.4f} | {run.retrains[name]} | {run.cpu_seconds[name]:.0f} |"
        )
    share = 100 * (run.log_loss["ours"] / run.log_loss["always"] - 1)
    return "\n".join([*lines, "", f"The loop's log loss is {share:+.2f} % of retraining every week's."])


def _mean(values: Sequence[float], signed: bool = False) -> str:
    if not values:
        return ""
    mean, half = interval(values)
    shown = f"{mean:+.4f}" if signed else f"{mean:.4f}"
    return shown if half == float("inf") else f"{shown} ± {half:.4f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark on two processes and write its section; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=6, help="of each kind of stream; the long abrupt one has four at most"
    )
    parser.add_argument("--kept", type=Path, help="a file that keeps each run, so that what it holds is not run again")
    parser.add_argument("--only", nargs="*", choices=[*KINDS, "flights"], default=[*KINDS, "flights"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    kept = _read(options.kept)
    # The longest one begins first.
    asked = [("flights", 0), *((kind, seed) for kind in KINDS for seed in range(_seeds(kind, options.seeds)))]
    tasks = [task for task in asked if task[0] in options.only and task not in kept]
    # Threads of numeric libraries do not survive a fork.
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        for each in as_completed([pool.submit(_task, *task) for task in tasks]):
            run = each.result()
            kept[run.kind, run.seed] = run
            _keep(options.kept, run)
            sys.stdout.write(f"{run.kind} {run.seed}: {run.wall:.0f} s, {run.accuracy}, {run.retrains}\n")
            sys.stdout.flush()
    text = DOCUMENT.read_text("utf-8") if DOCUMENT.is_file() else ""
    DOCUMENT.write_text(insert(text, render([kept[task] for task in asked if task in kept]), "replay"), "utf-8")
    return 0


def _task(kind: str, seed: int) -> Run:
    return flights() if kind == "flights" else simulate(kind, seed)


def _read(file: Path | None) -> dict[tuple[str, int], Run]:
    lines = file.read_bytes().splitlines() if file and file.is_file() else []
    return {(run.kind, run.seed): run for run in (msgspec.json.decode(line, type=Run) for line in lines)}


def _keep(file: Path | None, run: Run) -> None:
    if file:
        with file.open("ab") as opened:
            opened.write(msgspec.json.encode(run) + b"\n")


def _seeds(kind: str, seeds: int) -> int:
    return min(4, seeds) if kind == "abrupt" else seeds


if __name__ == "__main__":
    sys.exit(main())
