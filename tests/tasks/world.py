"""A model in production without Prefect: its log, its windows, its flows' steps, and a world that changes."""

import dataclasses
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasks.drift
import tasks.follow_up
import tasks.ingest
import tasks.refresh
import tasks.reports
import tasks.retrain
import tasks.train
import tasks.validate
import tasks.watchdog
from mlops.adapters.prediction_tables import label_fields, prediction_fields
from mlops.adapters.registry import Version
from mlops.core.promotion import Decision
from mlops.spec import Candidate, Drift, Gates, ModelSpec, Split, Training
from tasks.bundles import served_answers
from tasks.context import ModelContext, open_model
from tasks.drift import closed_windows, judge_window, publish_windows
from tasks.follow_up import FollowUp, due_follow_up, measure_outcomes
from tasks.ingest import curate_file, join_labels, list_landing, publish_snapshot
from tasks.refresh import due_refresh
from tasks.retrain import claim_alarm, record_retraining
from tasks.runs import Run
from tasks.train import choose_best, entrants, fit_candidate, load_rows, register_bundle, track_candidate
from tasks.validate import compare, record_decision
from tests.fakes.registry import FakeRegistry

MODULES = (
    tasks.drift, tasks.follow_up, tasks.ingest, tasks.refresh, tasks.reports, tasks.retrain, tasks.train,
    tasks.validate, tasks.watchdog,
)  # fmt: skip
DAY = timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)


def iris_like(spec: ModelSpec, **drift: Any) -> ModelSpec:
    """Iris' columns with a model that is calibrated, so that a change of the world is what its loss shows."""
    training = Training(
        metric="log_loss",
        split=Split(method="random", test=0.3, seed=1),
        candidates=(Candidate(name="logistic", estimator="logistic_regression", params={"max_iter": 300}),),
    )
    policy = msgspec.structs.replace(Drift(window_days=1.0, min_rows=100, refresh_windows=0), **drift)
    return msgspec.structs.replace(spec, training=training, gates=Gates(min_rows=30), drift=policy)


class World:
    """Days of production answered by a champion; ``change`` turns what the inputs mean."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **drift: Any) -> None:
        opened = open_model("iris")
        self.context = dataclasses.replace(opened, spec=iris_like(opened.spec, **drift))
        self.registry = FakeRegistry()
        vars(self.context).update(registry=self.registry)
        self.run = "run-0"
        self.alive: set[str] = set()
        self.unfinished: list[Run] = []
        self.pages: dict[str, str] = {}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.champion: Version | None = None
        self.changed = False
        self.random = np.random.default_rng(5)
        self.sent = 0
        for module in MODULES:
            for name, value in {
                "open_model": self.open,
                "current_flow_run": lambda: self.run,
                "describe_run": self.describe_run,
                "unfinished_runs": lambda *_, **__: self.unfinished,
                "create_table_artifact": lambda key, table, **_: self.tables.update({key: table}),
                "create_markdown_artifact": lambda key, markdown, **_: self.pages.update({key: markdown}),
                "create_link_artifact": lambda **_: None,
            }.items():
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, value)

    def open(self, model: str) -> ModelContext:
        assert model == "iris"
        return self.context

    def describe_run(self, run: str) -> Run:
        alive = run in self.alive
        return Run(run, f"retrain of {run}", "Running" if alive else "Crashed", alive)

    def rows(self, count: int) -> pd.DataFrame:
        """Four measurements and a class that the first two decide, by chance; in the changed world otherwise."""
        columns = [column.name for column in self.context.spec.data.columns]
        frame = pd.DataFrame(self.random.uniform(1, 9, (count, 4)), columns=columns)
        first, second = frame[columns[0]] - 5, frame[columns[1]] - 5
        scores = np.column_stack([first, second, -first - second]) * (-1 if self.changed else 1)
        chosen = (scores + self.random.gumbel(size=(count, 3))).argmax(axis=1)
        return frame.assign(Species=[str(each) for each in chosen])

    def land(self, count: int = 1200) -> None:
        self.context.store.put(f"iris/landing/{self.sent}.csv", self.rows(count).to_csv(index=False).encode())

    def day(self, day: int, count: int = 150, labelled: float = 1.0, hour: int = 1, *, at_once: bool = False) -> None:
        """Answer a day's requests, or one with all its rows, and let labels come at once for a share of them."""
        assert self.champion
        rows = self.rows(count)
        answers = served_answers(self.context, self.champion.digest, rows)
        ids = [f"r{self.sent + row:07}" for row in range(count)]
        apart = timedelta(0) if at_once else timedelta(milliseconds=10)
        times = [START + day * DAY + timedelta(hours=hour) + row * apart for row in range(count)]
        own = pd.DataFrame(
            {
                "_request_id": ids, "_time": times, "_environment": "prod", "_generation": 1,
                "_version": self.champion.version, "_digest": self.champion.digest, "_role": "champion",
                "_predicted": [str(each) for each in answers.argmax(axis=1)], "_probabilities": answers.tolist(),
            }
        )  # fmt: skip
        self._put("predictions", day, pd.concat([own, rows.drop(columns="Species")], axis=1))
        self.label(day, dict(list(zip(ids, rows["Species"], strict=True))[: int(count * labelled)]))
        self.unlabelled = dict(list(zip(ids, rows["Species"], strict=True))[int(count * labelled) :])
        self.sent += count

    def label(self, day: int, labels: dict[str, str]) -> None:
        if labels:
            frame = pd.DataFrame({"_request_id": list(labels), "_label": list(labels.values())})
            self._put("feedback", day, frame.assign(_time=START + day * DAY + timedelta(hours=2)))

    def _put(self, kind: str, day: int, frame: pd.DataFrame) -> None:
        frame["_time"] = pd.to_datetime(frame["_time"]).astype("datetime64[us, UTC]")
        fields = prediction_fields(self.context.spec.data) if kind == "predictions" else label_fields()
        pq.write_table(pa.Table.from_pandas(frame, fields, preserve_index=False), written := io.BytesIO())
        date = (START + day * DAY).date()
        count = len(self.context.store.list(f"iris/{kind}/"))
        self.context.store.put(f"iris/{kind}/date={date}/prod-{count:06}.parquet", written.getvalue())

    def ingest(self) -> str | None:
        curated = [curate_file.fn("iris", key) for key in list_landing.fn("iris")]
        if labelled := join_labels.fn("iris"):
            curated.append(labelled)
        return publish_snapshot.fn("iris", curated)[0]

    def train(self, alarm: str | None = None) -> Version:
        """The steps of the flow training."""
        rows = load_rows.fn("iris", None, alarm)
        named = entrants.fn("iris", rows)
        fitted = [fit_candidate.fn("iris", each, rows) for each in named]
        trained = [track_candidate.fn("iris", each, rows, result) for each, result in zip(named, fitted, strict=True)]
        return register_bundle.fn("iris", choose_best.fn("iris", rows, trained), rows)

    def validate(self, version: Version) -> bool:
        decision: Decision = compare.fn("iris", version)
        return record_decision.fn("iris", version, decision, (True, "not asked here"))

    def release(self, version: Version) -> None:
        self.champion = version
        numbers = {"version": version.version, "digest": version.digest}
        self.context.ledger.record("release", f"version-{version.version}", "released", numbers=numbers)
        state = {"generation": int(version.version), "champion": numbers, "release": "r"}
        self.context.store.put("iris/serving/prod.json", msgspec.json.encode(state))

    def begin(self) -> None:
        """Train and release the first model."""
        self.land()
        self.ingest()
        version = self.train()
        assert self.validate(version)
        self.release(version)

    def check(self, day: float) -> tuple[dict[str, str], FollowUp | None]:
        """The steps of the flow drift_check at the beginning of a day, reports left out."""
        until, given, waiting = START + day * DAY, {}, False
        for window in closed_windows.fn("iris", until):
            verdict, stands = judge_window.fn("iris", window, until, waiting)
            waiting = waiting or not stands
            given[window.name] = verdict.verdict if stands else f"({verdict.verdict})"
        due = due_follow_up.fn("iris") or due_refresh.fn("iris")
        measure_outcomes.fn("iris")
        publish_windows.fn("iris")
        return given, due

    def retrain(self, alarm: str, window: str | None = None, run: str = "run-1") -> bool:
        """The steps of the flow retraining, and the release that its automation would start."""
        self.run = run
        if not claim_alarm.fn("iris", alarm, window or alarm).ours:
            return False
        snapshot = self.ingest()
        version = self.train(alarm)
        accepted = self.validate(version)
        record_retraining.fn("iris", alarm, window or alarm, snapshot, version.version, version.digest, accepted)
        if accepted:
            self.release(version)
        return True

    def entries(self, kind: str) -> dict[str, str]:
        return {entry.subject: entry.decision for entry in self.context.ledger.entries(kind)}


def alarmed(world: World) -> str:
    """Two good days, then two of a changed world: the second of them alarms. Return its window."""
    for day in range(4):
        world.changed = day >= 2
        world.day(day)
        given, _ = world.check(day + 1)
    ((name, verdict),) = given.items()
    assert verdict == "retrain"
    return name
