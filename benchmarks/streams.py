"""Labelled streams whose changes are known: abrupt, gradual, recurring, of the prior, and of inputs alone.

Inputs are independent normal numbers and one category. A concept is a weight for each input, an
interaction and an offset for each category; the label is whether their sum with some noise is positive,
of three classes where three are asked. Each kind has its own generator; a seed draws the concepts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlops.core.arrays import Floats

INPUTS = 8
TOWNS = ("Bonn", "Kiel", "Ulm", "Wismar")


@dataclass(frozen=True)
class Concept:
    """What the inputs mean."""

    weights: Floats
    interaction: float
    towns: Floats
    offset: float = 0.0

    def margin(self, inputs: Floats, towns: NDArray[np.int64]) -> Floats:
        """How far each row is on the positive side."""
        pair = self.interaction * inputs[:, 0] * inputs[:, 1]
        return np.asarray(inputs @ self.weights + pair + self.towns[towns] + self.offset)


def draw_concept(random: np.random.Generator) -> Concept:
    """Draw a concept."""
    return Concept(random.normal(size=INPUTS), random.normal(), random.normal(size=len(TOWNS)))


def _stream(
    random: np.random.Generator,
    rows: int,
    margin: Callable[[Floats, NDArray[np.int64]], Floats],
    moved: Floats | None = None,
) -> pd.DataFrame:
    inputs = random.normal(size=(rows, INPUTS))
    if moved is not None:
        inputs = inputs + moved
    towns = random.integers(0, len(TOWNS), rows)
    label = margin(inputs, towns) + 0.7 * random.normal(size=rows) > 0
    frame = pd.DataFrame(inputs.round(4), columns=[f"x{column}" for column in range(INPUTS)])
    return frame.assign(town=np.array(TOWNS)[towns], y=np.where(label, "yes", "no"))


def _mixed(concepts: list[Concept], which: NDArray[np.signedinteger]) -> Callable[[Floats, NDArray[np.int64]], Floats]:
    """Margins of the concept that holds for each row; ``which`` [rows] says which, by position."""

    def margin(inputs: Floats, towns: NDArray[np.int64]) -> Floats:
        every = np.stack([concept.margin(inputs, towns) for concept in concepts])
        return np.asarray(every[which, np.arange(len(inputs))])

    return margin


def abrupt(seed: int, rows: int, changes: int = 3) -> tuple[pd.DataFrame, list[int]]:
    """Change the concept at even distances, from one row to the next."""
    random = np.random.default_rng(seed)
    at = np.arange(rows) * (changes + 1) // rows
    concepts = [draw_concept(random) for _ in range(changes + 1)]
    return _stream(random, rows, _mixed(concepts, at)), [int(row) for row in np.flatnonzero(np.diff(at)) + 1]


def gradual(seed: int, rows: int) -> tuple[pd.DataFrame, list[int]]:
    """Move from one concept to another over the middle half: ever more rows follow the new one."""
    random = np.random.default_rng(seed)
    share = np.clip((np.arange(rows) / rows - 0.25) / 0.5, 0, 1)
    concepts = [draw_concept(random), draw_concept(random)]
    return _stream(random, rows, _mixed(concepts, (random.random(rows) < share).astype(np.int64))), [rows // 4]


def recurring(seed: int, rows: int, changes: int = 5) -> tuple[pd.DataFrame, list[int]]:
    """Let two concepts alternate."""
    random = np.random.default_rng(seed)
    at = np.arange(rows) * (changes + 1) // rows
    concepts = [draw_concept(random), draw_concept(random)]
    return _stream(random, rows, _mixed(concepts, at % 2)), [int(row) for row in np.flatnonzero(np.diff(at)) + 1]


def virtual(seed: int, rows: int) -> tuple[pd.DataFrame, list[int]]:
    """Move the inputs by up to one standard deviation, the concept stays: nothing to retrain for."""
    random = np.random.default_rng(seed)
    concept = draw_concept(random)
    moved = np.outer(np.arange(rows) >= rows // 2, random.normal(size=INPUTS) * 0.4)
    return _stream(random, rows, concept.margin, moved), []


def prior(seed: int, rows: int) -> tuple[pd.DataFrame, list[int]]:
    """Move the offset of every row in the middle: one class becomes more frequent."""
    random = np.random.default_rng(seed)
    concept = draw_concept(random)
    moved = np.where(np.arange(rows) >= rows // 2, 1.5, 0.0)
    return _stream(random, rows, lambda inputs, towns: concept.margin(inputs, towns) + moved), [rows // 2]


def still(seed: int, rows: int) -> tuple[pd.DataFrame, list[int]]:
    """Change nothing."""
    random = np.random.default_rng(seed)
    return _stream(random, rows, draw_concept(random).margin), []


KINDS: dict[str, Callable[[int, int], tuple[pd.DataFrame, list[int]]]] = {
    "abrupt": abrupt, "gradual": gradual, "recurring": recurring, "prior": prior, "virtual": virtual, "still": still,
}  # fmt: skip
