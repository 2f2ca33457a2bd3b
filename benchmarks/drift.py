"""The verdict on simulated windows of known truth, and its cost beside Evidently's report in the same run.

Run by ``make bench``; ``python -m benchmarks.drift --help`` for a shorter one, or some cases only.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from benchmarks.drift_cases import Case, cases, described, verdict
from benchmarks.drift_data import Population, Rows
from benchmarks.results import insert, machine, now

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MILLION = 1_000_000
TWENTY = Population("mixed", 20)


class Found(msgspec.Struct, frozen=True):
    """One case: how many of the verdicts were what it counts."""

    name: str
    bound: str
    hits: int
    trials: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate (1927); it takes verdicts as independent."""
        z, n, p = 1.959964, self.trials, self.hits / self.trials
        middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
        return max(0.0, (middle - half) / (1 + z**2 / n)), min(1.0, (middle + half) / (1 + z**2 / n))


class Cost(msgspec.Struct, frozen=True):
    """What a million rows cost."""

    verdict_seconds: float
    verdict_mb: float
    """Peak of memory above the data."""
    evidently_seconds: float


def main() -> None:
    """Simulate, measure, and write the results."""
    parser = argparse.ArgumentParser(prog="benchmarks.drift", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of each case's trials")
    parser.add_argument("--only", default="", help="cases whose name holds this text; writes nothing")
    parser.add_argument("--no-cost", action="store_true", help="leave out the million rows and Evidently")
    told = parser.parse_args()
    wanted = [case for case in cases() if told.only in case.name]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [measured(case, told.share, pool) for case in wanted]
    costs = None if told.no_cost or told.only else cost()
    section = render(found, costs)
    sys.stdout.write(section)
    if not told.only:
        document = DOCUMENT.read_text("utf-8") if DOCUMENT.is_file() else ""
        DOCUMENT.write_text(insert(document, section, "drift"), "utf-8")


def measured(case: Case, share: float, pool: ProcessPoolExecutor | None = None) -> Found:
    """Run a case's trials, in this process without a pool."""
    places = [(case.name, seed) for seed in range(max(1, round(case.trials * share)))]
    found = [each for trial in (pool.map(_trial, places) if pool else map(_trial, places)) for each in trial]
    hits = [hit for hit, _ in found]
    unexpected = [text for hit, text in found if hit == case.bound.startswith("≤")][:2]
    sys.stderr.write(f"{case.name}: {sum(hits)} of {len(hits)} {unexpected}\n")
    return Found(case.name, case.bound, sum(hits), len(hits))


def _trial(place: tuple[str, int]) -> list[tuple[bool, str]]:
    name, seed = place
    (case,) = (each for each in cases() if each.name == name)
    return [(hit, described(given)) for hit, given in case.run(seed)]


def cost() -> Cost:
    """Judge a million rows of twenty columns in a new process, whose memory nothing else has grown; then Evidently."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for step in (_draw, _judge_million):
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                found = pool.submit(step, Path(folder)).result()
    return found


def _draw(folder: Path) -> Cost:
    random = np.random.default_rng(0)
    rows, train = TWENTY.draw(MILLION, random), TWENTY.draw(MILLION, random)
    rows.frame.assign(y=rows.labels).to_parquet(folder / "rows.parquet")
    np.save(folder / "probabilities.npy", rows.probabilities)
    train.frame.to_parquet(folder / "train.parquet")
    return Cost(0.0, 0.0, 0.0)


def _judge_million(folder: Path) -> Cost:
    random = np.random.default_rng(1)
    frame, train = (pd.read_parquet(folder / f"{name}.parquet") for name in ("rows", "train"))
    rows = Rows(frame[[c.name for c in TWENTY.schema.columns]], np.load(folder / "probabilities.npy"), frame["y"])
    reference = TWENTY.profile(100_000, 20_000, random)
    verdict(reference, TWENTY.draw(200, random), TWENTY, [])  # imports
    before = _memory()
    seconds = _cpu(lambda: verdict(reference, rows, TWENTY, []))
    peak = _peak() - before
    return Cost(seconds, peak, _cpu(lambda: _evidently(rows.frame, train)))


def _evidently(frame: pd.DataFrame, train: pd.DataFrame) -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    shape = DataDefinition(
        numerical_columns=list(TWENTY.schema.numbers), categorical_columns=list(TWENTY.schema.categories)
    )
    current, reference = (Dataset.from_pandas(each, data_definition=shape) for each in (frame, train))
    Report([DataDriftPreset(), DataSummaryPreset()], include_tests=True).run(current, reference)


def _cpu(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def _status(name: str) -> float:
    text = Path("/proc/self/status").read_text()
    return float(text.split(f"{name}:")[1].split()[0]) / 1024


def _memory() -> float:
    Path("/proc/self/clear_refs").write_text("5")  # The peak begins again here.
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def render(found: list[Found], costs: Cost | None) -> str:
    """Write the section."""
    lines = ["## Verdict", "", f"{now()}; {machine()}.", ""]
    if costs is not None:
        lines.append(
            f"One million rows × 20 columns, whole verdict with labels, against the profile of training:"
            f" {costs.verdict_seconds:.2f} CPU seconds,"
            f" {costs.verdict_mb:.0f} MB above the data; Evidently's report on the same rows and as many of training,"
            " in the same process:"
            f" {costs.evidently_seconds:.1f} CPU seconds ({costs.evidently_seconds / costs.verdict_seconds:.0f}"
            " times as many)."
        )
        lines.append("")
    lines += ["Rates with Wilson's 95 % intervals; how each case is simulated: `benchmarks/drift_cases.py`.", ""]
    lines += ["| case | must be | rate | interval | verdicts |", "| --- | --- | --: | --- | --: |"]
    calm = [each for each in found if each.name.startswith("unchanged")]
    pooled = [Found("unchanged, all of the below", "≤ 1 %", sum(c.hits for c in calm), sum(c.trials for c in calm))]
    for each in (pooled if calm else []) + found:
        low, high = each.interval
        lines.append(
            f"| {each.name} | {each.bound} | {each.hits / each.trials:.3f} | {low:.3f} to {high:.3f} | {each.trials} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
