"""Evidently's own default verdict, which a replay compares with: half of the columns drifted."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops.core.policies import Moment, Step, retrain
from mlops.core.schema import Schema


@dataclass(frozen=True)
class Evidently:
    """Retrains when ``DataDriftPreset``'s default test fails on a window against the rows of the last training."""

    def after(self, moment: Moment) -> Step:
        """Ask Evidently about the window's features."""
        schema, model = moment.trainer.spec.data, moment.model
        before = pd.concat([model.train, model.holdout], ignore_index=True)
        drifted = dataset_drift(before, moment.rows, schema)
        return retrain(moment, "retrain", alarm=True) if drifted else Step("ok")


def dataset_drift(reference: pd.DataFrame, current: pd.DataFrame, schema: Schema) -> bool:
    """Whether Evidently's default test of drifted columns (a share of at least .5) fails on typed rows.

    Columns that are all missing on either side are left out, since Evidently raises on them.
    """
    names = [c.name for c in schema.features if reference[c.name].notna().any() and current[c.name].notna().any()]
    if not names:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Evidently's own, and those of what it calls.
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        numbers = [name for name in schema.numbers if name in names]
        definition = DataDefinition(
            numerical_columns=numbers, categorical_columns=[name for name in names if name not in numbers]
        )
        before, now = (
            Dataset.from_pandas(_plain(frame[names], numbers), data_definition=definition)
            for frame in (reference, current)
        )
        tests = Report([DataDriftPreset()], include_tests=True).run(now, before).dict()["tests"]
    shared = [test for test in tests if "DriftedColumnsCount" in str(test["metric_config"])]
    return any(str(getattr(test["status"], "value", test["status"])) == "FAIL" for test in shared)


def _plain(frame: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    typed = {name: frame[name] if name in numbers else frame[name].astype(object) for name in frame}
    return pd.DataFrame(typed).replace([np.inf, -np.inf], np.nan).reset_index(drop=True)
