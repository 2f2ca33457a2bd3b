"""The images of flows and workers without a container engine: what their Dockerfiles say is parsed, installed and run.

The scoring image has its own module, tests/scoring/test_image.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dockerfiles import DOCKER, ROOT, copied, instructions, lay_out, only, pins

IMAGES = ("flows", "scoring", "worker")


@pytest.mark.parametrize("image", IMAGES)
def test_it_is_pinned_with_hashes_as_in_the_lock(image: str) -> None:
    assert (only(image, "ARG"), only(image, "FROM")) == ("BASE=python:3.11-slim-bookworm", "$BASE")
    requirements = DOCKER / f"{image}.txt"
    assert pins(requirements) <= pins(ROOT / "requirements.lock")
    lines = requirements.read_text("utf-8").splitlines()
    assert not [line for line in lines if "://" in line]
    pinned = [number for number, line in enumerate(lines) if line[:1].isalnum()]
    assert all("--hash=" in lines[number + 1] for number in pinned)
    assert len(pinned) == len(pins(requirements))
    assert any("--require-hashes" in rest for name, rest in instructions(image) if name == "RUN")


@pytest.mark.parametrize("image", IMAGES)
def test_it_does_not_run_as_root_and_starts_without_a_shell(image: str) -> None:
    user, _, group = only(image, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    starts = [json.loads(rest) for name, rest in instructions(image) if name in ("CMD", "ENTRYPOINT")]
    assert starts[0][0] == "python"


@pytest.mark.parametrize("image", IMAGES)
def test_it_needs_nothing_that_the_builder_is_not_sent(image: str) -> None:
    ignored = (DOCKER / f"{image}.Dockerfile.dockerignore").read_text("utf-8").splitlines()
    sent = [line[1:] for line in ignored if line.startswith("!")]
    needed = [source.relative_to(ROOT).as_posix() for source, _ in copied(image)] + [f"infra/docker/{image}.txt"]
    assert ignored[1] == "*"
    assert [name for name in needed if not any(name == each or name.startswith(f"{each}/") for each in sent)] == []


def test_flow_runs_find_their_flows_in_what_the_image_copies(tmp_path: Path) -> None:
    app = lay_out("flows", tmp_path / "app")
    code = (
        "import yaml, importlib, pathlib, mlops.settings\n"
        "told = yaml.safe_load(open('prefect.yaml'))['deployments']\n"
        "for each in told:\n"
        "    file, _, name = each['entrypoint'].partition(':')\n"
        "    module = importlib.import_module(file.removesuffix('.py').replace('/', '.'))\n"
        "    assert pathlib.Path(module.__file__).is_relative_to(pathlib.Path.cwd()), module.__file__\n"
        "    getattr(module, name)\n"
        "settings = mlops.settings.load()\n"
        "assert list(settings.models_dir.glob('*.yaml'))\n"
        "assert (settings.home / 'infra/kubernetes/scoring.yaml').is_file()\n"
        "print(len(told))"
    )
    environ = {"PYTHONPATH": str(app), "MLOPS_HOME": str(app), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=app, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= 7


def test_a_worker_knows_every_type_of_pool_from_its_requirements_alone(tmp_path: Path) -> None:
    app, environment = lay_out("worker", tmp_path / "app"), tmp_path / "environment"
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(environment / "bin/python")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    requirements = DOCKER / "worker.txt"
    subprocess.run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, requirements], check=True)
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--python", python]
    subprocess.run([*install, "--editable", app], check=True)
    environ = {"PATH": os.defpath, "HOME": str(tmp_path), "DO_NOT_TRACK": "1"}
    code = (
        "from prefect.workers.base import BaseWorker\n"
        "from prefect.plugins import load_prefect_collections\n"
        "loaded = load_prefect_collections()\n"
        "failed = {name: each for name, each in loaded.items() if isinstance(each, Exception)}\n"
        "assert not failed, failed\n"
        "print(','.join(sorted(BaseWorker.get_all_available_worker_types())))"
    )
    done = subprocess.run([python, "-c", code], cwd=app, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"azure-container-instance", "azure-ml", "kubernetes", "process"} <= set(done.stdout.split()[-1].split(","))
