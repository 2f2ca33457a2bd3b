"""Performance without labels: what the model's own probabilities expect (CBPE), marked as an estimate.

A calibrated model that says .8 is right in 80 % of such rows, so the mean of its highest probability
estimates its accuracy and the mean of its entropy its log loss (confidence-based performance
estimation; Guillory et al., 2021; NannyML). What the holdout showed beyond its own expectation is
added. It follows harder inputs, and is blind to a changed meaning of the inputs: only labels show that.
"""

import numpy as np

from mlops.core.arrays import Floats
from mlops.core.performance import ACCURACY
from mlops.core.profile import Holdout, expected_losses

HARDER = 0.05
"""Accuracy that is estimated to be lost from which on the page says so."""


def estimated(holdout: Holdout, probabilities: Floats) -> dict[str, float]:
    """Estimate accuracy and log loss of a window; empty without a finite answer."""
    finite = probabilities[np.isfinite(probabilities).all(axis=1)]
    if not len(finite) or not holdout.measures:
        return {}
    right = float(finite.max(axis=1).mean()) - holdout.measures[ACCURACY].mean
    return {
        "accuracy": min(1.0, max(0.0, right)),
        "log_loss": max(0.0, float(expected_losses(finite).mean()) + holdout.excess_loss.mean),
    }


def harder(holdout: Holdout, estimate: dict[str, float]) -> str | None:
    """Say in a sentence that less accuracy is to be expected, if it is."""
    if not estimate or holdout.accuracy - estimate["accuracy"] < HARDER:
        return None
    return (
        f"These rows are harder: the model itself expects to be right in about {estimate['accuracy']:.0%} of them"
        f" ({holdout.accuracy:.0%} in training): an estimate, made without labels."
    )
