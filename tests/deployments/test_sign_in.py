"""``mlops sign-in``, and what signs in to a Prefect server."""

import os
from pathlib import Path

import pytest

from deployments.cli import main
from deployments.stack.components import servers, workers
from deployments.stack.processes import _environment
from flows.api import prefect_api, sign_in_variables
from mlops.adapters.sign_in import FILE, VARIABLE
from mlops.settings import Settings, SettingsError


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


def auth_string() -> str:
    from prefect.settings import PREFECT_API_AUTH_STRING

    return PREFECT_API_AUTH_STRING.value() or ""


def test_prefects_clients_tell_the_servers_password_and_a_persons_own_only_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Settings(home=tmp_path, secrets_dir=tmp_path)
    elsewhere = Settings(home=tmp_path, secrets_dir=tmp_path, prefect_url="https://prefect.example.org/api")
    with prefect_api(here):
        assert auth_string() == ""
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:mine")
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_of_the_cloud")
    assert sign_in_variables(here) == {}
    assert sign_in_variables(elsewhere) == {"PREFECT_API_AUTH_STRING": "me:mine", "PREFECT_API_KEY": "pnu_of_the_cloud"}
    (tmp_path / FILE).write_text("mlops:word\n")
    for settings in (here, elsewhere):
        assert sign_in_variables(settings) == {"PREFECT_API_AUTH_STRING": "mlops:word"}
        with prefect_api(settings):
            assert auth_string() == "mlops:word"
    assert VARIABLE not in os.environ


def test_prefect_cloud_and_a_server_without_tls_are_not_told_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILE).write_text("mlops:word")
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_of_the_cloud")
    cloud = Settings(home=tmp_path, secrets_dir=tmp_path, prefect_url="https://api.prefect.cloud/api/accounts/a")
    assert sign_in_variables(cloud) == {"PREFECT_API_KEY": "pnu_of_the_cloud"}
    alike = Settings(home=tmp_path, secrets_dir=tmp_path, prefect_url="https://notprefect.cloud/api")
    assert sign_in_variables(alike) == {"PREFECT_API_AUTH_STRING": "mlops:word"}
    bare = Settings(home=tmp_path, secrets_dir=tmp_path, prefect_url="http://prefect.example.org/api")
    with pytest.raises(SettingsError, match=r"prefect_url http://prefect\.example\.org/api would be told a password"):
        sign_in_variables(bare)
    near = Settings(home=tmp_path, secrets_dir=tmp_path, prefect_url="http://127.0.0.1:4200/api")
    assert sign_in_variables(near) == {"PREFECT_API_AUTH_STRING": "mlops:word"}


def test_workers_sign_in_as_clients_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Prefect's variables of the shell say, for a server of the installation they are another's."""
    settings = Settings(home=tmp_path, state_dir=tmp_path, secrets_dir=tmp_path)
    monkeypatch.setenv("PREFECT_API_KEY", "pnu_of_the_cloud")
    names = ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", VARIABLE)

    def told(settings: Settings) -> dict[str, str]:
        environment = _environment(workers(settings)[0])
        return {name: environment[name] for name in names if name in environment}

    assert told(settings) == {}
    elsewhere = Settings(
        home=tmp_path, state_dir=tmp_path, secrets_dir=tmp_path, prefect_url="https://api.prefect.example.org/api"
    )
    assert told(elsewhere) == {"PREFECT_API_KEY": "pnu_of_the_cloud"}
    (tmp_path / FILE).write_text("mlops:word\n")
    for each in (settings, elsewhere):
        assert told(each) == {"PREFECT_API_AUTH_STRING": "mlops:word", VARIABLE: "mlops:word"}


def test_an_empty_variable_closes_no_server_and_opens_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, state_dir=tmp_path, secrets_dir=tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    pages = [each for each in servers(settings) if each.name in ("mlflow", "reports", "evidently")]
    assert len(pages) == 3
    assert not any(VARIABLE in _environment(each) for each in pages)
    (tmp_path / FILE).write_text("mlops:word\n")
    pages = [each for each in servers(settings) if each.name in ("mlflow", "reports", "evidently")]
    assert all(_environment(each)[VARIABLE] == "mlops:word" for each in pages)
