"""Prefect's results beside the store: what one container's flow run wrote, another container's reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deployments import results
from mlops.adapters.store import open_store
from mlops.settings import Settings
from tests.fakes.azurite import Azurite
from tests.infra.prefect_server import PrefectServer

FLOW = """
from prefect import flow, task
from prefect.cache_policies import INPUTS

@task(persist_result=True, cache_policy=INPUTS)
def evaluate(number):
    print("evaluated")
    return {"accuracy": number / 2}

@flow(persist_result=True)
def release():
    return evaluate(1)

print(release())
"""


def test_a_folder_as_store_needs_no_block(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert results.result_environment(settings) == {}
    results.ensure_result_storage(settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # azureml.core, which prefect-azure imports
def test_what_one_container_wrote_another_one_reads(
    azurite: Azurite, prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    azurite.sign_in(tmp_path / "secrets")
    settings = Settings(profile="azure", store=azurite.container(), secrets_dir=tmp_path / "secrets")
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        results.ensure_result_storage(settings)
        results.ensure_result_storage(settings)

    def run(container: str) -> list[str]:
        environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environ |= prefect_server.environment | results.result_environment(settings)
        environ |= {"PREFECT_HOME": str(tmp_path / container), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-c", FLOW]
        done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")

    assert run("first") == ["evaluated", "{'accuracy': 0.5}", ""]
    assert run("second") == ["{'accuracy': 0.5}", ""]
    store = open_store(settings.store_uri, settings)
    assert store.list("") == []
    monkeypatch.setattr("mlops.adapters.store_blob.is_hidden", lambda _: False)
    assert store.list(".prefect/")
