"""The LitServe server: ``python litserve_server.py PORT``."""

import os
import sys
from typing import Any

import joblib
import litserve
import numpy as np


class Scoring(litserve.LitAPI):  # type: ignore[misc]  # LitServe is not in the project's environment.
    """A scikit-learn model behind ``/predict``."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature.
        """Load the model."""
        self.model = joblib.load(os.environ["BENCH_MODEL"])

    def predict(self, request: dict[str, Any]) -> list[str]:
        """Answer the rows under ``data``."""
        answers: list[str] = self.model.predict(np.array(request["data"])).tolist()
        return answers


if __name__ == "__main__":
    litserve.LitServer(Scoring(), accelerator="cpu", workers_per_device=1).run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
