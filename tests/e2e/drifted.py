"""Days of production whose labels contradict the model, written to a stack's store as its services would."""

import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlops import spec
from mlops.adapters import bundles
from mlops.adapters.datasets import iris_csv
from mlops.adapters.prediction_tables import label_fields, prediction_fields
from mlops.adapters.store import FolderStore
from mlops.core.quality import check, read_csv
from mlops.core.training import onnx_probabilities
from tests.e2e.stack import Stack


def days_of_wrong_labels(stack: Stack, *days_ago: int) -> None:
    """Log iris' flowers as answered by PROD's bundle on each day, with labels of the next species."""
    iris = spec.load(stack.home / "deployments" / "models", "iris")
    served = stack.written["models"]["iris"]["prod"]
    store = FolderStore(stack.state / "store")
    rows = check(read_csv(iris_csv(), "iris.csv"), iris.data, "iris.csv").good
    model = bundles.read(store, "iris", served["digest"], "model.onnx")
    answers = onnx_probabilities(model, rows, iris.data)
    for ago in days_ago:
        time = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=ago)
        ids = [f"drifted-{ago}-{row}" for row in range(len(rows))]
        own = {
            "_request_id": ids, "_time": time, "_environment": "prod", "_generation": 1, "_version": served["version"],
            "_digest": served["digest"], "_role": "champion", "_predicted": answers.argmax(axis=1).astype(str),
            "_probabilities": answers.tolist(),
        }  # fmt: skip
        # A little noise, or each day would be the other's copy, which is an incident.
        noise = np.random.default_rng(ago).normal(0, 0.01, (len(rows), len(iris.data.columns)))
        inputs = rows[[column.name for column in iris.data.columns]] + noise
        labels = [str((int(label) + 1) % 3) for label in rows[iris.data.target.name]]
        told = inputs.assign(_request_id=ids, _time=time, _label=labels)
        for kind, frame, fields in (
            ("predictions", inputs.assign(**own), prediction_fields(iris.data)),
            ("feedback", told, label_fields()),
        ):
            pq.write_table(pa.Table.from_pandas(frame, fields, preserve_index=False), written := io.BytesIO())
            store.put(f"iris/{kind}/date={time.date()}/prod-drifted-{ago}.parquet", written.getvalue())
