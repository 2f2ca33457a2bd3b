"""The scoring image without a container engine: its requirements in an empty environment, its files in an empty folder.

What the Dockerfile says is parsed, installed, copied and run; the engine's own work is all that is left out.
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlops.adapters.prediction_log import prediction_keys
from mlops.adapters.store import FolderStore, Store, open_store
from mlops.settings import Settings
from tests.dockerfiles import DOCKER, ROOT, lay_out, only, pins
from tests.fakes.azurite import Azurite
from tests.ports import free_port
from tests.waiting import becomes_ready

REQUIREMENTS = DOCKER / "scoring.txt"
HEAVY = ("pandas", "sklearn", "prefect", "mlflow", "evidently", "scipy", "joblib")
MAX_MEGABYTES = 400
FLOWER = {"SepalLengthCm": 6.6, "SepalWidthCm": 3, "PetalLengthCm": 4.4, "PetalWidthCm": 1.4}


def health_command() -> list[str]:
    """What HEALTHCHECK runs, in exec form."""
    command: list[str] = json.loads(only("scoring", "HEALTHCHECK").partition("CMD ")[2])
    return command


@dataclass(frozen=True)
class Image:
    """What the Dockerfile builds: an environment and a folder."""

    environment: Path
    app: Path

    @property
    def variables(self) -> dict[str, str]:
        """The image's variables and nothing of this process; its Python is first on the path."""
        told = dict(pair.split("=", 1) for pair in shlex.split(only("scoring", "ENV")))
        return told | {"PATH": f"{self.environment / 'bin'}:/usr/bin:/bin"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    built = Image(folder / "environment", folder / "app")
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, built.environment], check=True)
    python = str(built.environment / "bin/python")
    install = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", python]
    subprocess.run([*install, REQUIREMENTS], check=True)
    lay_out("scoring", built.app)
    return built


@pytest.fixture(params=["folder", "blob"])
def place(request: pytest.FixtureRequest, store: FolderStore, tmp_path: Path) -> tuple[Store, dict[str, str]]:
    """Where the service finds what the folder store holds, and what it must be told for that."""
    if request.param == "folder":
        return store, {"MLOPS_STORE": store.root.as_uri()}
    azurite: Azurite = request.getfixturevalue("azurite")
    azurite.sign_in(tmp_path / "mounted")
    uri = azurite.container()
    return open_store(uri, Settings(secrets_dir=tmp_path / "mounted")), {
        "MLOPS_STORE": uri,
        "MLOPS_SECRETS_DIR": str(tmp_path / "mounted"),
    }


def test_it_serves_and_logs_from_its_files_and_requirements_alone(
    image: Image,
    store: FolderStore,
    place: tuple[Store, dict[str, str]],
    publish: Any,
    iris: dict[str, bytes],
    key_path: Path,
    tmp_path: Path,
) -> None:
    publish(1, iris)
    target, told = place
    if target is not store:
        for key in store.list(""):
            target.put(key, store.get(key))
    port, output = free_port(), tmp_path / "service.log"
    environ = (
        image.variables
        | {"MLOPS_SECRETS_DIR": str(tmp_path)}
        | told
        | {
            "MLOPS_HOST": "127.0.0.1",
            "MLOPS_STATE_DIR": str(tmp_path / "state"),
            "MLOPS_SCORING_MODEL": "iris",
            "MLOPS_SCORING_ENVIRONMENT": "prod",
            "MLOPS_SCORING_BIND_PORT": str(port),
            "MLOPS_SCORING_KEYS_FILE": str(key_path),
        }
    )

    def health() -> int:
        return subprocess.run(health_command(), env=environ, cwd=image.app, stderr=subprocess.DEVNULL).returncode

    assert health() != 0
    with output.open("wb") as log:
        service = subprocess.Popen(json.loads(only("scoring", "CMD")), cwd=image.app, env=environ, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
            assert becomes_ready(client, service), output.read_text()
            assert client.post("/score", json=FLOWER).status_code == 401
            headers = {"Authorization": f"Bearer {key_path.read_text().strip()}"}
            answer = client.post("/score", json=FLOWER, headers=headers)
            assert (answer.status_code, answer.json()["output"]) == (200, {"predicted_species": "1"})
            assert client.get("/healthz").json()["pid"] == service.pid
            assert client.get("/openapi.json").status_code == 200
        assert health() == 0
        service.terminate()
        assert service.wait(timeout=20) == 0, output.read_text()
    finally:
        service.kill()
        service.wait()
    assert prediction_keys(target, "iris", "prod")
    assert health() != 0


def test_training_and_orchestration_are_not_in_it(image: Image) -> None:
    program = "import importlib.util, sys; print([n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    command = ["python", "-c", program, *HEAVY, "msgspec"]
    found = subprocess.run(command, env=image.variables, cwd=image.app, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "['msgspec']"


def test_it_is_small(image: Image, record_testsuite_property: Callable[[str, object], None]) -> None:
    files = [Path(parent, name) for parent, _, names in os.walk(image.environment) for name in names]
    megabytes = sum(file.lstat().st_size for file in files) / 1e6
    record_testsuite_property("environment_megabytes", round(megabytes))
    assert megabytes < MAX_MEGABYTES


def test_it_does_not_run_as_root() -> None:
    user, _, group = only("scoring", "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_its_base_is_pinned_and_its_commands_have_no_shell() -> None:
    assert (only("scoring", "ARG"), only("scoring", "FROM")) == ("BASE=python:3.11-slim-bookworm", "$BASE")
    assert json.loads(only("scoring", "CMD"))[0] == health_command()[0] == "python"


def test_its_requirements_are_pinned_with_hashes_as_in_the_lock() -> None:
    text = REQUIREMENTS.read_text("utf-8")
    assert pins(REQUIREMENTS) <= pins(ROOT / "requirements.lock")
    assert "://" not in text
    assert all("--hash=" in part for part in text.split("==")[1:])
