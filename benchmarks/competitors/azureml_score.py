"""Entry script of azureml-inference-server-http, in the form of Azure ML's own examples."""

import json
import os
from typing import Any

import joblib
import numpy as np

model: Any = None


def init() -> None:
    """Load the model (called once by the server)."""
    global model  # The server's contract: two functions without a shared object.
    model = joblib.load(os.environ["BENCH_MODEL"])


def run(raw_data: str) -> list[str]:
    """Answer the rows under ``data``."""
    answers: list[str] = model.predict(np.array(json.loads(raw_data)["data"])).tolist()
    return answers
