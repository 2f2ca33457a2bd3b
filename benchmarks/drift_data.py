"""Populations of known truth: columns of many shapes, a model that is right, and ways to change both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops.core.arrays import Floats
from mlops.core.profile import Reference, reference
from mlops.core.schema import Column, Schema, Target

Shape = Literal["normal", "mixed", "categorical"]
SHAPES: tuple[Shape, ...] = ("normal", "mixed", "categorical")
RHO = 0.2
"""Correlation of the first two numbers, and of all numbers of the shape ``normal``."""
MARGINS: tuple[Callable[[Floats], Floats], ...] = (
    lambda z: z,
    np.exp,  # lognormal
    lambda z: np.abs(z) ** 1.5 * np.sign(z),  # heavy tails
    lambda z: np.floor(3 * np.exp(z / 2)),  # counts, with ties
    lambda z: np.where(z < 0.5, 0.0, z - 0.5),  # mostly zero
    lambda z: 100 / (1 + np.exp(-z)),  # bounded
    lambda z: np.round(z, 1),
)


class Rows(NamedTuple):
    """Typed inputs, the model's answers [rows, 2] and true labels."""

    frame: pd.DataFrame
    probabilities: Floats
    labels: pd.Series


@dataclass(frozen=True)
class Population:
    """Where rows come from; ``shift``, ``spread`` and ``rho`` are what a drift changes."""

    shape: Shape
    columns: int
    shift: float = 0.0
    """Standard deviations by which the first three numbers move."""
    spread: float = 1.0
    """Factor on the first number's variance."""
    rho: float = RHO
    tilt: float = 0.0
    """Share that the first category's commonest value gains from all others."""
    missing: float = 0.0
    """Share that the missing values of the second column gain."""
    prior: float = 0.0
    """Logits by which the second class becomes likelier, unknown to the model."""
    flip: float = 0.0
    """Share of flipped labels."""
    slice_flip: float = 0.0
    """Share of flipped labels in the tenth of the rows with the highest first number."""
    sharp: float = 1.0
    """Factor on the model's logits: above 1 it is surer than it should be."""

    @property
    def categories(self) -> int:
        """How many of the columns are categories."""
        return {"normal": 1, "mixed": self.columns // 3, "categorical": self.columns * 4 // 5}[self.shape]

    @property
    def schema(self) -> Schema:
        """The columns, numbers first."""
        numbers = self.columns - self.categories
        names = [Column(f"x{each}", "number", nullable=True) for each in range(numbers)]
        texts = [Column(f"c{each}", "category", nullable=True) for each in range(self.categories)]
        return Schema(columns=(*names, *texts), target=Target("y", ("0", "1")))

    def draw(self, count: int, random: np.random.Generator, offsets: Floats | None = None) -> Rows:
        """Draw rows.

        Args:
            count: how many.
            random: where they come from.
            offsets: moves every number [numbers], or every row's [rows, numbers], in standard deviations.
        """
        numbers = self.columns - self.categories
        scores = self._scores(count, numbers, random)
        if offsets is not None:
            scores = scores + offsets
        frame: dict[str, npt.NDArray[Any]] = {
            f"x{each}": self._margin(each)(scores[:, each]) for each in range(numbers)
        }
        codes = [self._codes(each, count, random) for each in range(self.categories)]
        frame |= {f"c{each}": np.char.add("v", code.astype(str)).astype(object) for each, code in enumerate(codes)}
        logit = 1.9 * scores[:, 0] - 1.5 * scores[:, -1] + 0.5 * (codes[0] == 0) - 0.2
        rows = pd.DataFrame(self._with_missing(frame, count, random))
        return Rows(rows, *self._answers(logit, scores[:, 0], random))

    def profile(self, train: int, holdout: int, random: np.random.Generator) -> Reference:
        """Profile training rows and a holdout, as a training run does."""
        rows, held = self.draw(train, random), self.draw(holdout, random)
        return reference(rows.frame, self.schema, held.labels, held.probabilities, holdout=held.frame)

    def _scores(self, count: int, numbers: int, random: np.random.Generator) -> Floats:
        scores = random.standard_normal((count, numbers))
        if self.shape == "normal":
            scores = np.sqrt(1 - RHO) * scores + np.sqrt(RHO) * random.standard_normal((count, 1))
        if numbers > 1:
            own = random.standard_normal(count)
            scores[:, 1] = self.rho * scores[:, 0] + np.sqrt(1 - self.rho**2) * own
        scores[:, 0] *= np.sqrt(self.spread)
        scores[:, :3] += self.shift
        return scores

    def _margin(self, number: int) -> Callable[[Floats], Floats]:
        return MARGINS[0] if self.shape == "normal" else MARGINS[number % len(MARGINS)]

    def _codes(self, category: int, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
        size = (4, 2, 7, 3, 12, 5, 40)[category % 7]
        shares = 1 / np.arange(1, size + 1) ** 0.8
        shares /= shares.sum()
        if category == 0 and self.tilt:
            shares = np.r_[shares[0] + self.tilt, shares[1:] * (1 - shares[0] - self.tilt) / (1 - shares[0])]
        return random.choice(size, count, p=shares)

    def _with_missing(
        self, frame: Mapping[str, npt.NDArray[Any]], count: int, random: np.random.Generator
    ) -> dict[str, pd.Series]:
        shares = {name: (0.0, 0.02, 0.1)[each % 3] for each, name in enumerate(frame)}
        shares[list(frame)[1]] += self.missing
        return {
            name: pd.Series(values).mask(random.random(count) < shares[name]) if shares[name] else pd.Series(values)
            for name, values in frame.items()
        }

    def _answers(self, logit: Floats, first: Floats, random: np.random.Generator) -> tuple[Floats, pd.Series]:
        count = len(logit)
        said = 1 / (1 + np.exp(-self.sharp * logit))
        truth = random.random(count) < 1 / (1 + np.exp(-(logit + self.prior)))
        wrong = np.where(first >= np.quantile(first, 0.9), self.slice_flip, self.flip)
        truth ^= random.random(count) < wrong
        return np.column_stack([1 - said, said]), pd.Series(np.where(truth, "1", "0"))
