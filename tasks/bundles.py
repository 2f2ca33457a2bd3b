"""What tasks read of a bundle: its answers to rows, its tables, and which rows it was trained on."""

import io
from typing import TYPE_CHECKING

from mlops.adapters import bundles
from mlops.core import rivals
from mlops.core.bundle import LINEAGE, Lineage
from tasks.context import ModelContext

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def trained_answers(context: ModelContext, digest: str, rows: "pd.DataFrame") -> "np.ndarray":
    """Probabilities of a bundle's trained estimator [rows, classes]; its file is checked before it is unpickled."""
    import joblib

    from mlops.core import training

    data = bundles.read(context.store, context.spec.name, digest, "model.joblib")
    return training.probabilities(joblib.load(io.BytesIO(data)), rows, context.spec.data)


def served_answers(context: ModelContext, digest: str, rows: "pd.DataFrame") -> "np.ndarray":
    """Probabilities of a bundle's served form [rows, classes].

    Which form that is, the bundle says: the spec may ask for another one since it was trained.
    """
    from mlops.core import training

    model = context.spec.name
    if "model.onnx" not in bundles.manifest(context.store, model, digest).files:
        return trained_answers(context, digest, rows)
    data = bundles.read(context.store, model, digest, "model.onnx")
    return training.onnx_probabilities(data, rows, context.spec.data)


def bundle_frame(context: ModelContext, digest: str, name: str) -> "pd.DataFrame":
    """Read a Parquet file of a bundle."""
    import pandas as pd

    return pd.read_parquet(io.BytesIO(bundles.read(context.store, context.spec.name, digest, name)))


def bundle_lineage(context: ModelContext, digest: str) -> Lineage:
    """Read which rows a bundle was trained on; one that does not say was trained on the sliding window."""
    model = context.spec.name
    if LINEAGE not in bundles.manifest(context.store, model, digest).files:
        return Lineage(rival=rivals.SLIDING)
    return bundles.decode(context.store, model, digest, LINEAGE, Lineage)
