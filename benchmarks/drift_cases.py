"""Cases that the verdict must get right: each gives verdicts of simulated windows for a seed."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from benchmarks.drift_data import SHAPES, Population, Rows, Shape
from mlops.core.arrays import Floats
from mlops.core.profile import Reference
from mlops.core.verdict import Verdict, judge
from mlops.spec import Drift

POLICY = Drift()
WINDOWS, REFERENCES, WIDTHS = (100, 1000, 5000), (500, 5000, 50_000), (10, 30)
PAST = 30
ROWS = 500
"""Rows of a window with a history."""
JUDGED = 4
"""Windows of a case of no drift that are judged."""
CALM = {"ok", "wait"}
Judged = Iterable[tuple[bool, Verdict]]
"""Whether the verdict is what the case counts, and the verdict."""


class Case(NamedTuple):
    """A case: what is counted, and the bound on its rate."""

    name: str
    bound: str
    trials: int
    run: Callable[[int], Judged]
    limit: float
    """The rate must be at most this where it begins with ≤, else at least."""


def verdict(
    reference: Reference, rows: Rows, population: Population, history: list[Verdict], policy: Drift = POLICY
) -> Verdict:
    """Judge rows that come with labels."""
    return judge(reference, rows.frame, rows.probabilities, rows.labels, population.schema, policy, "1", history)


def unchanged(shape: Shape, width: int, train: int, window: int) -> Callable[[int], Judged]:
    """Windows as in training, without a history; every other model is surer than it should be."""

    def run(seed: int) -> Judged:
        random = np.random.default_rng((1, seed, width, train, window, SHAPES.index(shape)))
        population = Population(shape, width, sharp=(1.0, 1.3)[seed % 2])
        reference = population.profile(train, max(100, train // 5), random)
        for _ in range(JUDGED):
            given = verdict(reference, population.draw(window, random), population, [])
            yield given.verdict not in CALM, given

    return run


def detected(shape: Shape, **changes: Any) -> Callable[[int], Judged]:
    """One window of 1,000 rows in ten columns that changed, without a history."""

    def run(seed: int) -> Judged:
        random = np.random.default_rng((2, seed, SHAPES.index(shape)))
        before = Population(shape, 10)
        reference = before.profile(20_000, 5000, random)
        now = replace(before, **changes)
        given = verdict(reference, now.draw(1000, random), now, [])
        yield given.verdict not in CALM, given

    return run


def harmless(seed: int) -> Judged:
    """Four windows whose inputs moved while their meaning did not: is one of them to be retrained on?"""
    random = np.random.default_rng((3, seed))
    before = Population(SHAPES[seed % 3], 10, sharp=(1.0, 1.3)[seed % 2])
    reference, history = before.profile(5000, 1000, random), list[Verdict]()
    now = replace(before, shift=0.25 + (seed % 4) / 4)
    for _ in range(4):
        history.append(verdict(reference, now.draw(1000, random), now, history))
    yield any(each.verdict == "retrain" for each in history), history[-1]


def autocorrelated(phi: float) -> Callable[[int], Judged]:
    """Rows that follow each other: every number drifts slowly within and across windows."""

    def offsets(count: int, numbers: int, random: np.random.Generator) -> Iterable[Floats]:
        level = random.standard_normal(numbers)
        while True:
            steps = np.empty((count, numbers))
            for row, noise in enumerate(random.standard_normal((count, numbers)) * (1 - phi**2) ** 0.5):
                level = phi * level + noise
                steps[row] = level
            yield steps

    return _after_history(offsets)


def by_window(phi: float) -> Callable[[int], Judged]:
    """Windows that follow each other: each has a weather of its own, which resembles the last one's."""

    def offsets(count: int, numbers: int, random: np.random.Generator) -> Iterable[Floats]:
        level = random.standard_normal(numbers)
        while True:
            level = phi * level + random.standard_normal(numbers) * (1 - phi**2) ** 0.5
            yield np.tile(level / 2, (count, 1))

    return _after_history(offsets)


def seasonal(period: float) -> Callable[[int], Judged]:
    """Windows of a season: every number rises and falls over so many windows, each at its own time."""

    def offsets(count: int, numbers: int, random: np.random.Generator) -> Iterable[Floats]:
        phases, position = random.uniform(0, 2 * np.pi, numbers), random.uniform(0, period)
        while True:
            position += 1
            yield np.tile(np.sin(2 * np.pi * position / period + phases) / 2, (count, 1))

    return _after_history(offsets)


def _after_history(
    offsets: Callable[[int, int, np.random.Generator], Iterable[Floats]],
) -> Callable[[int], Judged]:
    """Judge some windows after 30 past ones; the reference is of four windows before them."""

    def run(seed: int) -> Judged:
        random = np.random.default_rng((4, seed))
        population = Population(SHAPES[seed % 3], 10)
        moved = iter(offsets(ROWS, 10 - population.categories, random))
        train = _joined([population.draw(ROWS, random, next(moved)) for _ in range(8)])
        held = _joined([population.draw(ROWS, random, next(moved)) for _ in range(2)])
        from mlops.core.profile import reference as profiled

        reference = profiled(train.frame, population.schema, held.labels, held.probabilities, holdout=held.frame)
        history: list[Verdict] = []
        for number in range(PAST + JUDGED):
            given = verdict(reference, population.draw(ROWS, random, next(moved)), population, history)
            history.append(given)
            if number >= PAST:
                yield given.verdict not in CALM, given

    return run


def drift_after_history(seed: int) -> Judged:
    """A mean that moves by half a standard deviation in three columns after 30 windows of weather."""
    random = np.random.default_rng((5, seed))
    population = Population(SHAPES[seed % 2], 10)
    reference, history = population.profile(5000, 1000, random), list[Verdict]()
    for _ in range(PAST):
        weather = random.standard_normal(10 - population.categories) / 20
        history.append(verdict(reference, population.draw(1000, random, weather), population, history))
    now = replace(population, shift=0.5)
    given = verdict(reference, now.draw(1000, random), now, history)
    yield given.verdict not in CALM, given


Break = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
INCIDENTS: dict[str, Break] = {
    "unseen": lambda now, _: now.assign(c0=now["c0"].mask(now.index % 20 == 0, "V0")),
    "absent": lambda now, _: now.drop(columns="x1"),
    "all_missing": lambda now, _: now.assign(x1=np.nan),
    "unit": lambda now, _: now.assign(x0=now["x0"] * 2.54),
    "stuck": lambda now, _: now.assign(x0=now["x0"].iloc[0]),
    "frozen": lambda _, before: before,
    "duplicated": lambda now, _: pd.concat([now, now.head(len(now) // 5)], ignore_index=True),
}


def incident(kind: str) -> Callable[[int], Judged]:
    """A window broken in one way: is it a data incident of that name and no other?"""

    def run(seed: int) -> Judged:
        random = np.random.default_rng((6, seed))
        population = Population(SHAPES[seed % 3], 10)
        reference = population.profile(5000, 1000, random)
        past, now = population.draw(1000, random), population.draw(1000, random)
        earlier = verdict(reference, past, population, [])
        frame = INCIDENTS[kind](now.frame, past.frame)
        places = np.arange(len(frame)) % len(now.frame)
        broken = Rows(frame, now.probabilities[places], now.labels.iloc[places].reset_index(drop=True))
        given = verdict(reference, broken, population, [earlier])
        named = {found.kind for found in given.columns if found.kind in INCIDENTS}
        yield given.verdict == "data_incident" and named == {kind}, given

    return run


def _joined(parts: list[Rows]) -> Rows:
    return Rows(
        pd.concat([part.frame for part in parts], ignore_index=True),
        np.vstack([part.probabilities for part in parts]),
        pd.concat([part.labels for part in parts], ignore_index=True),
    )


def _unchanged_cases() -> Iterable[Case]:
    for shape in SHAPES:
        for width in WIDTHS:
            for train in REFERENCES:
                for window in WINDOWS:
                    name = f"unchanged, {shape}, {width} columns, {train:,} against {window:,} rows"
                    yield Case(name, "≤ 1 %", 40, unchanged(shape, width, train, window), 0.01)


def _power_cases() -> Iterable[Case]:
    wanted: list[tuple[str, float, dict[str, Any]]] = [
        ("mean ¼ sd in 3 of 10", 0.95, {"shift": 0.25}),
        ("variance × 1.5 in one column", 0.95, {"spread": 1.5}),
        ("a category + 15 points", 0.95, {"tilt": 0.15}),
        ("missing + 5 points", 0.95, {"missing": 0.05}),
        ("a correlation .2 to .5", 0.90, {"rho": 0.5}),
        ("labels: 10 % flipped", 0.95, {"flip": 0.1, "slice_flip": 0.1}),
        ("labels: prior moved by .5 logit", 0.95, {"prior": 0.5}),
        ("labels: half flipped in a tenth of the rows", 0.80, {"slice_flip": 0.5}),
    ]
    for name, bound, changes in wanted:
        for shape in SHAPES[:2]:
            yield Case(f"{name}, {shape}", f"≥ {bound:.2f}", 150, detected(shape, **changes), bound)


def cases() -> list[Case]:
    """All cases, in the order of the table."""
    seasons = {"weekly seasons": 7.0, "yearly seasons": 52.0}
    return [
        *_unchanged_cases(),
        *(Case(f"autocorrelated rows, AR {phi}", "≤ 2 %", 40, autocorrelated(phi), 0.02) for phi in (0.5, 0.9)),
        *(Case(f"autocorrelated windows, AR {phi}", "≤ 2 %", 40, by_window(phi), 0.02) for phi in (0.5, 0.9)),
        *(Case(name, "≤ 2 %", 40, seasonal(period), 0.02) for name, period in seasons.items()),
        *_power_cases(),
        Case("drift after 30 windows of weather", "", 60, drift_after_history, 0.0),
        Case("harmless drift: retrain", "≤ 5 %", 100, harmless, 0.05),
        *(Case(f"incident: {kind}", "all", 45, incident(kind), 1.0) for kind in INCIDENTS),
    ]


def described(given: Verdict) -> str:
    """Say which tests decided, for the eye."""
    found = [found for found in (*given.columns, *given.performance) if found.drifted]
    tests = (f"{each.column} {each.kind} {each.slice} {each.effect:.3f} p={each.p_value or 0:.1e}" for each in found)
    return f"{given.verdict}: {'; '.join(tests)}"


def size(given: Verdict) -> int:
    """Bytes of a verdict in the ledger."""
    return len(msgspec.json.encode(given))
