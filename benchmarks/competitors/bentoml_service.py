"""The BentoML service."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1, metrics={"enabled": False})
class Scoring:
    """A scikit-learn model behind one endpoint."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML is not in the project's environment.
    def predict(self, data: list[list[float]]) -> list[str]:
        """Answer the rows of ``data``."""
        answers: list[str] = self.model.predict(np.array(data)).tolist()
        return answers
