"""The servers that are compared: how each is started, asked and understood."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.models import Subject

HERE = Path(__file__).parent
QUIET = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""The load goes to this machine alone, and so does everything else."""


@dataclass(frozen=True)
class Place:
    """Where one start of a server happens."""

    subject: Subject
    folder: Path
    """For this start's own files."""
    ports: tuple[int, int, int]
    """Free ones; the first takes the requests."""
    bin: Path
    """The folder of the server's environment with its programs."""
    key: str


@dataclass(frozen=True)
class Start:
    """What to run and what to ask it."""

    command: list[str]
    path: str
    body: object
    answer: Callable[[Any], object]
    """Finds the class in the decoded answer."""
    environ: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A server that is compared."""

    title: str
    package: str
    """Its distribution, of which the version is told; empty: this repository."""
    start: Callable[[Place], Start]


def _rows(place: Place) -> list[list[float]]:
    return [list(place.subject.record.values())]


def _first(answer: Any) -> object:
    return answer[0]


def _ours(place: Place) -> Start:
    keys = place.folder / "keys"
    keys.write_text(place.key)
    return Start(
        command=[sys.executable, "-m", "mlops.scoring"],
        path="/score",
        body=place.subject.record,
        answer=lambda answer: answer["output"]["predicted_species"],
        environ={
            "MLOPS_HOST": "127.0.0.1",
            "MLOPS_STATE_DIR": str(place.folder / "state"),
            "MLOPS_STORE": (place.subject.pickle.parent / "store").as_uri(),
            "MLOPS_SCORING_MODEL": place.subject.name,
            "MLOPS_SCORING_ENVIRONMENT": "prod",
            "MLOPS_SCORING_BIND_PORT": str(place.ports[0]),
            "MLOPS_SCORING_KEYS_FILE": str(keys),
        },
    )


def _constant(place: Place) -> Start:
    answer = {
        "output": {"predicted_species": place.subject.answer},
        "probabilities": {"0": 0.0, "1": 0.0, "2": 1.0},
        "request_id": "0" * 32,
        "model": {"name": place.subject.name, "version": "1", "digest": "0" * 64},
    }
    return Start(
        command=[sys.executable, "-m", "benchmarks.constant", str(place.ports[0]), json.dumps(answer)],
        path="/score",
        body=place.subject.record,
        answer=lambda answer: answer["output"]["predicted_species"],
    )


def _azureml(place: Place) -> Start:
    script = HERE / "competitors/azureml_score.py"
    return Start(
        command=[
            *(str(place.bin / "azmlinfsrv"), "--entry_script", str(script), "--worker_count", "1"),
            *("--port", str(place.ports[0]), "--health_port", str(place.ports[1])),
        ],
        path="/score",
        body={"data": _rows(place)},
        answer=_first,
    )


def _mlflow(place: Place) -> Start:
    import joblib
    import mlflow.sklearn

    model = place.folder / "model"
    estimator = joblib.load(place.subject.pickle)
    mlflow.sklearn.save_model(estimator, str(model), serialization_format="cloudpickle", pip_requirements=[])
    return Start(
        command=[
            *(str(place.bin / "mlflow"), "models", "serve", "--model-uri", str(model), "--env-manager", "local"),
            *("--host", "127.0.0.1", "--port", str(place.ports[0]), "--workers", "1"),
        ],
        path="/invocations",
        body={"inputs": _rows(place)},
        answer=lambda answer: answer["predictions"][0],
    )


def _bentoml(place: Place) -> Start:
    return Start(
        command=[
            *(
                str(place.bin / "bentoml"),
                "serve",
                "bentoml_service:Scoring",
                "--working-dir",
                str(HERE / "competitors"),
            ),
            *("--host", "127.0.0.1", "--port", str(place.ports[0])),
        ],
        path="/predict",
        body={"data": _rows(place)},
        answer=_first,
        environ={"BENTOML_HOME": str(place.folder / "home")},
    )


def _mlserver(place: Place) -> Start:
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {"host": "127.0.0.1", "parallel_workers": 0, **dict(zip(names, place.ports, strict=True))}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "model",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(place.subject.pickle)},
    }
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    values = _rows(place)[0]
    tensor = {"name": "input", "shape": [1, len(values)], "datatype": "FP64", "data": values}
    return Start(
        command=[str(place.bin / "mlserver"), "start", str(place.folder)],
        path="/v2/models/model/infer",
        body={"inputs": [tensor]},
        answer=lambda answer: answer["outputs"][0]["data"][0],
    )


def _litserve(place: Place) -> Start:
    script = HERE / "competitors/litserve_server.py"
    return Start(
        command=[str(place.bin / "python"), str(script), str(place.ports[0])],
        path="/predict",
        body={"data": _rows(place)},
        answer=_first,
    )


OURS, CONSTANT, ANCHOR = "ours", "constant", "azureml"
SERVERS = {
    OURS: Server("this service (validation, key, prediction log on)", "", _ours),
    CONSTANT: Server("the same server answering a constant", "", _constant),
    ANCHOR: Server("azureml-inference-server-http (the anchor)", "azureml-inference-server-http", _azureml),
    "mlflow": Server("mlflow models serve", "mlflow", _mlflow),
    "bentoml": Server("BentoML", "bentoml", _bentoml),
    "mlserver": Server("MLServer", "mlserver", _mlserver),
    "litserve": Server("LitServe", "litserve", _litserve),
}


def environment(start: Start, place: Place) -> dict[str, str]:
    """The variables of a server: this process's, without the project's settings, and its own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "PYTHON"))}
    paths = {"PATH": f"{place.bin}:{os.environ.get('PATH', '')}", "BENCH_MODEL": str(place.subject.pickle)}
    return inherited | QUIET | paths | start.environ
