"""A category that the world gains: let in by ingestion, named once it appears, known after the next training."""

import msgspec
import numpy as np
import pytest
from pandas import DataFrame

from mlops.core import training
from mlops.core.assembly import bundle_files
from mlops.core.drift import Reference
from mlops.core.evaluation import evaluate
from mlops.core.quality import check
from mlops.core.verdict import Verdict, judge, markdown
from mlops.spec import ModelSpec


def grown(frame: DataFrame, rows: int, seed: int) -> DataFrame:
    """A month later, a third of the parcels goes with a carrier that was not there before."""
    later = frame.sample(rows, replace=True, random_state=seed).reset_index(drop=True)
    later["sent"] = later["sent"] + np.timedelta64(60 + seed, "D")
    later["parcel"] = np.arange(1.0, rows + 1) + seed * 10_000
    return later.assign(carrier=later["carrier"].where(later.index % 3 > 0, "east"))


def reference(frame: DataFrame, spec: ModelSpec) -> tuple[Reference, object]:
    train, holdout = training.split(frame, spec)
    candidate = spec.training.candidates[3]
    estimator = training.fit(candidate, spec, train)
    metrics = evaluate(holdout["late"], training.probabilities(estimator, holdout, spec.data), spec.data.target.classes)
    files = bundle_files(spec, "snapshot", candidate, estimator, train, holdout, metrics)
    return msgspec.json.decode(files["profile.json"], type=Reference), estimator


@pytest.mark.parametrize(("policy", "decision"), [("incident", "data_incident"), ("investigate", "investigate")])
def test_a_new_value_is_named_until_a_training_knows_it(
    mixed_spec: ModelSpec, mixed_frame: DataFrame, policy: str, decision: str
) -> None:
    drift = msgspec.structs.replace(mixed_spec.drift, new_values=policy, max_excess_loss=9.0)
    window = grown(mixed_frame, 600, 1)

    def verdict(trained_on: DataFrame) -> Verdict:
        profile, estimator = reference(trained_on, mixed_spec)
        answers = training.probabilities(estimator, window, mixed_spec.data)  # type: ignore[arg-type]
        return judge(profile, window, answers, window["late"], mixed_spec.data, drift, "1")

    before = verdict(mixed_frame)
    assert before.verdict == decision
    assert "| carrier | new values |" in (page := markdown(before, "parcels"))
    assert "east" in page
    after = verdict(grown(mixed_frame, 1200, 2))
    assert not [found for found in after.columns if found.kind == "unseen"]
    assert after.verdict != "data_incident"


def test_ingestion_lets_a_new_value_in_where_the_set_is_open(mixed_spec: ModelSpec, mixed_frame: DataFrame) -> None:
    raw = grown(mixed_frame, 90, 1).astype({"sent": str})
    raw = raw.assign(size=raw["size"].where(raw.index != 5, "XXL")).astype(object).where(raw.notna(), None)
    checked = check(raw.astype(str).where(raw.notna(), ""), mixed_spec.data, "parcels.csv")
    assert (checked.good["carrier"] == "east").sum() == 30
    assert len(checked.bad) == 1, "the set of sizes is closed"
