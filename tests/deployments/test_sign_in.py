"""``mlops sign-in``, and what signs in to a Prefect server."""

import os
from pathlib import Path

import pytest

from deployments.cli import main
from flows.api import auth_string, prefect_api
from mlops.adapters.sign_in import FILE, VARIABLE
from mlops.settings import Settings


@pytest.fixture(autouse=True)
def _told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_SECRETS_DIR", str(tmp_path))
    for name in (VARIABLE, "MLOPS_SETTINGS", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign-in"]) == 0
    assert capsys.readouterr() == ("", "mlops: the servers ask for no password\n")
    (tmp_path / FILE).write_text("mlops:word\n")
    assert main(["sign-in"]) == 0
    assert capsys.readouterr() == ("mlops:word\n", "")
    (tmp_path / FILE).write_text("word\n")
    assert main(["sign-in"]) == 2
    assert capsys.readouterr().err == f"mlops: {tmp_path / FILE} holds no user:password for the servers\n"


def test_prefects_clients_sign_in_and_a_persons_sign_in_is_for_servers_elsewhere(
    tmp_path: Path,
) -> None:
    here = Settings(home=tmp_path, secrets_dir=tmp_path)
    with prefect_api(here):
        assert auth_string() == ""
    (tmp_path / FILE).write_text("mlops:word\n")
    with prefect_api(here):
        assert auth_string() == "mlops:word"
    assert auth_string() == ""
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    elsewhere = Settings(home=tmp_path, secrets_dir=tmp_path, prefect_url="https://prefect.example.org/api")
    with temporary_settings({PREFECT_API_AUTH_STRING: "me:mine"}):
        with prefect_api(elsewhere):
            assert auth_string() == "me:mine"
        with prefect_api(here):
            assert auth_string() == "mlops:word"
    assert VARIABLE not in os.environ
