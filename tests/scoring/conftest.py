"""Real small bundles, and a scoring service in this process that is asked as a server would ask it."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from pandas import DataFrame, Timestamp

from mlops.adapters import bundles
from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.store import FolderStore
from mlops.core.bundle import Golden, ServedModel
from mlops.core.schema import Column, Schema, Target
from mlops.core.serving import Served, ServingState, state_key
from mlops.core.training import fit, probabilities, to_onnx
from mlops.scoring.app import ScoringApp
from mlops.scoring.cache import Cache
from mlops.scoring.config import Limits
from mlops.scoring.keys import KeyFile
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Serving
from mlops.spec import Candidate, ModelSpec, Split, Training

KEY = "a-key-for-tests"
Files = dict[str, bytes]
Ask = Callable[..., httpx.Response]

IRIS = Schema(
    tuple(
        Column(name, "number", min=0.1, max=30, unit="cm")
        for name in ("SepalLengthCm", "SepalWidthCm", "PetalLengthCm", "PetalWidthCm")
    ),
    Target("Species", ("0", "1", "2"), "0 setosa, 1 versicolor, 2 virginica"),
)
MIXED = Schema(
    (
        Column("departure", "time"),
        Column("number", "integer", min=1, max=9999, feature=False),
        Column("origin", "category", values=("EWR", "JFK")),
        Column("carrier", "category", nullable=True),
        Column("distance", "number"),
        Column("seats", "integer", min=1, max=900, nullable=True),
    ),
    Target("late", ("no", "yes")),
)


def _spec(name: str, schema: Schema, estimator: Any, **params: Any) -> ModelSpec:
    candidate = Candidate(name="only", estimator=estimator, params=params)
    return ModelSpec(
        name=name,
        description="A model for tests.",
        data=schema,
        training=Training(metric="accuracy", split=Split(method="random", test=0.4), candidates=(candidate,)),
    )


def _bundle(spec: ModelSpec, frame: DataFrame, records: list[dict[str, Any]], form: str = "onnx") -> Files:
    import joblib

    estimator = fit(spec.training.candidates[0], spec, frame)
    answers = probabilities(estimator, DataFrame(records), spec.data).tolist()
    about = ServedModel(
        model=spec.name,
        data=spec.data,
        format=form,
        layout="columns" if spec.data.categories else "matrix",
        golden=tuple(Golden(record, tuple(row)) for record, row in zip(records, answers, strict=True)),
    )
    pickle = io.BytesIO()
    joblib.dump(estimator, pickle)
    files = {"model.json": msgspec.json.encode(about), "model.joblib": pickle.getvalue()}
    return files | ({"model.onnx": to_onnx(estimator, spec.data)} if form == "onnx" else {})


def _iris(**params: Any) -> Files:
    from sklearn.datasets import load_iris

    data = load_iris()
    names = [column.name for column in IRIS.columns]
    frame = DataFrame(data.data, columns=names).assign(Species=[str(label) for label in data.target])
    record = dict(zip(names, (6.6, 3.0, 4.4, 1.4), strict=True))
    return _bundle(_spec("iris", IRIS, "decision_tree", **params), frame, [record])


@pytest.fixture(scope="session")
def iris() -> Files:
    """A bundle with a decision tree on iris."""
    return _iris(random_state=1984)


@pytest.fixture(scope="session")
def stump() -> Files:
    """Another bundle of the same model, whose probabilities differ from the tree's."""
    return _iris(random_state=1984, max_depth=1)


def _mixed(form: str) -> Files:
    random = np.random.default_rng(5)
    rows = 400
    distance = random.uniform(100, 2500, rows).round()
    frame = DataFrame(
        {
            "departure": [Timestamp("2013-01-01", tz="UTC")] * rows,
            "number": random.integers(1, 9999, rows).astype(float),
            "origin": random.choice(["EWR", "JFK"], rows),
            "carrier": random.choice(np.array(["UA", "AA", None], dtype=object), rows),
            "distance": distance,
            "seats": np.where(random.random(rows) < 0.2, np.nan, random.integers(20, 300, rows)),
            "late": np.where(distance > 1200, "yes", "no"),
        }
    )
    records: list[dict[str, Any]] = [
        {
            "departure": "2013-02-20T12:00:00Z",
            "number": 7,
            "origin": "JFK",
            "carrier": "UA",
            "distance": 2000,
            "seats": 9,
        },
        {"departure": "2013-02-20T12:00:00Z", "origin": "EWR", "carrier": None, "distance": 300.5, "seats": None},
    ]
    return _bundle(_spec("mixed", MIXED, "hist_gradient_boosting", max_iter=10), frame, records, form)


@pytest.fixture(scope="session")
def mixed() -> Files:
    """A bundle with categories, missing values, a key and an event time."""
    return _mixed("onnx")


@pytest.fixture(scope="session")
def pickled() -> Files:
    """The same as a pickle, for the serving format joblib."""
    return _mixed("joblib")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty store."""
    return FolderStore(tmp_path / "store")


@pytest.fixture
def publish(store: FolderStore) -> Callable[..., ServingState]:
    """Save bundles and let them serve as a new generation in PROD: ``publish(3, champion, shadow=files)``."""

    def served(model: str, files: Files, version: str) -> Served:
        return Served(bundles.save(store, model, "a-snapshot", files), version)

    def publish(
        generation: int, champion: Files, shadow: Files | None = None, canary: Files | None = None, share: float = 0.0
    ) -> ServingState:
        model = json.loads(champion["model.json"])["model"]
        state = ServingState(
            generation=generation,
            champion=served(model, champion, "1"),
            shadow=served(model, shadow, "2") if shadow else None,
            canary=served(model, canary, "3") if canary else None,
            canary_share=share,
        )
        store.put(state_key(model, "prod"), msgspec.json.encode(state))
        return state

    return publish


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    """A file with one key."""
    file = tmp_path / "service.key"
    file.write_text(KEY + "\n")
    return file


class Local:
    """A scoring service without a server: its parts, polled by the test."""

    def __init__(self, store: FolderStore, model: str, keys: Path, state: Path, limits: Limits) -> None:
        self.serving = Serving(store, model, "prod", Cache(state / "cache", model, "prod"))
        self.log = PredictionLog(store, model, "prod", state / "spool", spool_bytes=limits.spool)
        self.shadow = Shadow(self.log)
        self.app = ScoringApp(model, "prod", self.serving, self.log, self.shadow, KeyFile(keys), limits)
        self.log.start()
        self.serving.poll()

    def ask(
        self, path: str, body: Any = None, *, method: str = "", key: str | None = KEY, **headers: str
    ) -> httpx.Response:
        """Send one request; ``body`` is JSON unless it is bytes, and a request with one is a POST."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {} if key is None else {"authorization": f"Bearer {key}"}
        scope = {
            "type": "http",
            "method": method or ("GET" if body is None else "POST"),
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        scope["headers"] += [] if "content-length" in sent else [(b"content-length", b"%d" % len(content))]
        return asyncio.run(self.answer(scope, content))

    async def answer(self, scope: dict[str, Any], content: bytes) -> httpx.Response:
        """Answer one request as ASGI gives it."""
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        await self.app(scope, receive, send)
        start, body = messages
        return httpx.Response(start["status"], headers=start["headers"], content=body["body"])

    def close(self) -> None:
        """Finish the shadow's work and write the log."""
        self.app.close()
        self.shadow.close()
        self.log.close()


@pytest.fixture
def serve(store: FolderStore, key_path: Path, state_dir: Path) -> Iterator[Callable[..., Local]]:
    """Start the service of a model in PROD: ``serve("iris", requests=2)``, with limits by name."""
    started: list[Local] = []

    def serve(model: str, at: FolderStore = store, **limits: Any) -> Local:
        started.append(Local(at, model, key_path, state_dir, Limits(**limits)))
        return started[-1]

    yield serve
    for each in started:
        each.close()


@pytest.fixture
def service(publish: Any, serve: Any, iris: dict[str, bytes]) -> Any:
    publish(1, iris)
    return serve("iris")


@pytest.fixture
def flights(publish: Any, serve: Any, mixed: dict[str, bytes]) -> Any:
    publish(1, mixed)
    return serve("mixed")
