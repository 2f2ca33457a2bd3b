"""Typed frames and specs: iris, and a mixed one with categories, missing values and event times."""

import numpy as np
import pytest
from pandas import DataFrame, Series, Timestamp, to_timedelta

from mlops import spec

IRIS_SPEC = b"""
name: iris
description: Which of three species a flower is.
data:
  columns:
    - {name: SepalLengthCm, type: number, min: 0.1, max: 30, unit: cm}
    - {name: SepalWidthCm, type: number, min: 0.1, max: 30, unit: cm}
    - {name: PetalLengthCm, type: number, min: 0.1, max: 30, unit: cm}
    - {name: PetalWidthCm, type: number, min: 0.1, max: 30, unit: cm}
  target: {name: Species, classes: ["0", "1", "2"]}
training:
  metric: accuracy
  split: {method: random, test: 0.4, seed: 1984}
  candidates:
    - {name: tree, estimator: decision_tree, params: {random_state: 1984}}
gates: {min_accuracy: 0.9}
"""

MIXED_SPEC = b"""
name: mixed
description: Whether a parcel is late.
data:
  columns:
    - {name: sent, type: time}
    - {name: weight, type: number, min: 0, max: 100, nullable: true, unit: kg}
    - {name: carrier, type: category, nullable: true}
    - {name: parcel, type: integer, min: 1, feature: false}
    - {name: zone, type: integer, min: 1, max: 9}
    - {name: size, type: category, values: [S, M, L]}
  target: {name: late, classes: ["no", "maybe", "yes"], description: after its date}
  unique: [sent, parcel]
training:
  metric: log_loss
  split: {method: time, test: 0.25}
  candidates:
    - {name: tree, estimator: decision_tree, params: {max_depth: 6}}
    - {name: forest, estimator: random_forest, params: {n_estimators: 15}}
    - {name: boosting, estimator: hist_gradient_boosting, params: {max_iter: 25}}
    - {name: logistic, estimator: logistic_regression, params: {max_iter: 400}}
    - name: vote
      estimator: voting
      members: [boosting, logistic, forest]
      params: {weights: [2, 1, 1]}
"""


@pytest.fixture(scope="session")
def iris_spec() -> spec.ModelSpec:
    """Return the spec of four numbers and three classes."""
    return spec.parse(IRIS_SPEC, "iris.yaml")


@pytest.fixture(scope="session")
def iris_frame(iris_spec: spec.ModelSpec) -> DataFrame:
    """Return scikit-learn's iris as a typed, labelled frame."""
    from sklearn.datasets import load_iris

    values, target = load_iris(return_X_y=True)
    frame = DataFrame(values, columns=[c.name for c in iris_spec.data.columns])
    return frame.assign(Species=Series(target).astype("str"))


@pytest.fixture(scope="session")
def mixed_spec() -> spec.ModelSpec:
    """Return a spec with every column type; its classes are not in alphabetical order."""
    return spec.parse(MIXED_SPEC, "mixed.yaml")


@pytest.fixture(scope="session")
def mixed_frame() -> DataFrame:
    """Return 1200 typed rows over 50 days, some weights and carriers missing."""
    random, rows = np.random.default_rng(7), 1200
    weight, zone = random.gamma(2, 5, rows), random.integers(1, 10, rows).astype(float)
    carrier, size = random.choice(["north", "south", "west"], rows), random.choice(["S", "M", "L"], rows)
    lateness = weight / 10 + (carrier == "south") * 2 + (size == "L") * zone / 4 + random.normal(0, 0.7, rows)
    start = Timestamp("2026-01-01", tz="UTC")
    return DataFrame(
        {
            "sent": (start + to_timedelta(np.arange(rows) // 24, unit="D")).astype("datetime64[us, UTC]"),
            "weight": np.where(random.random(rows) < 0.1, np.nan, weight),
            "carrier": Series(carrier).where(random.random(rows) > 0.1),
            "parcel": np.arange(1.0, rows + 1),
            "zone": zone,
            "size": size,
            "late": np.select([lateness > 3, lateness > 1.5], ["yes", "maybe"], "no"),
        }
    )
