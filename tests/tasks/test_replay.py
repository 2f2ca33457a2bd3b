"""The flow `replay` over a model's own store and over a file: its steps without Prefect."""

import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tasks.replay
from mlops.adapters.snapshots import Source
from tasks.context import ModelContext, open_model
from tasks.network import Refused
from tasks.replay import load_past, publish_replay, replay_policies


@pytest.fixture
def iris() -> ModelContext:
    return open_model("iris")


@pytest.fixture
def flowers(iris_rows: pd.DataFrame) -> pd.DataFrame:
    """Iris four times over, in an order that mixes the species."""
    return pd.concat([iris_rows.sample(frac=1, random_state=seed) for seed in range(4)], ignore_index=True)


@pytest.fixture
def iris_rows() -> pd.DataFrame:
    from sklearn.datasets import load_iris

    values, species = load_iris(return_X_y=True)
    columns = [column.name for column in open_model("iris").spec.data.columns]
    return pd.DataFrame(values, columns=columns).assign(Species=pd.Series(species).astype(str))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the run shows in the UI, by key."""
    found: dict[str, Any] = {}
    for kind in ("image", "markdown", "table"):
        monkeypatch.setattr(tasks.replay, f"create_{kind}_artifact", lambda key, **more: found.update({key: more}))
    monkeypatch.setattr(tasks.replay, "get_run_logger", logging.getLogger)
    return found


def test_the_models_own_past_is_replayed_and_shown(
    iris: ModelContext, flowers: pd.DataFrame, shown: dict[str, Any]
) -> None:
    part = iris.snapshots.put_part(flowers, iris.spec.data)
    iris.snapshots.publish((part,), (Source("iris/landing/a.csv", "d"),))
    past = load_past.fn("iris", None, "50", "150")
    assert len(past.stream.judged) == 9
    found = replay_policies.fn("never,every:3,ours", past)
    key = publish_replay.fn("iris", found)
    assert json.loads(iris.store.get(key))["policies"]["every:3"]["retrains"] == 2
    assert f"Recommended: {found.recommendation.policy}" in shown["iris-replay"]["description"]
    assert found.recommendation.reasons[0] in shown["iris-replay"]["markdown"]
    assert [row["policy"] for row in shown["iris-replay-policies"]["table"]][:2] == ["never", "every:3"]
    assert shown["iris-replay-windows"]["image_url"].startswith("data:image/png;base64,")


def test_a_file_is_read_with_the_models_spec(flowers: pd.DataFrame, tmp_path: Path) -> None:
    flowers.to_csv(tmp_path / "past.csv", index=False)
    past = load_past.fn("iris", str(tmp_path / "past.csv"), "100", "200")
    assert past.spec.name == "iris"
    assert len(past.stream.frame) == 600


@pytest.mark.parametrize(
    ("data", "window", "said"),
    [
        (None, None, "iris has no snapshot yet"),
        ("absent.csv", None, "absent.csv: there is no such file"),
        (None, "1m", "no length"),
    ],
)
def test_what_cannot_be_replayed_is_refused(data: str | None, window: str | None, said: str) -> None:
    with pytest.raises(Refused, match=said):
        load_past.fn("iris", data, window, None)
