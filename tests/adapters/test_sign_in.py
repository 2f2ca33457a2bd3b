"""Where the servers' user and password are looked for, and that a wrong one is told without being shown."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.adapters import sign_in
from mlops.adapters.azure_vault import VaultError
from mlops.adapters.registry import open_registry
from mlops.settings import Settings, SettingsError
from tasks.network import PERMANENT


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, secrets_dir=tmp_path, mlflow_url="http://127.0.0.1:9")


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    held: dict[str, str] = {}

    class Vault:
        def __init__(self, settings: Settings) -> None:
            self.url = settings.azure_key_vault

        def get(self, name: str) -> str:
            return held.get(f"{self.url}/{name}", "")

    monkeypatch.setattr("mlops.adapters.azure_vault.Vault", Vault)
    sign_in._held.cache_clear()
    yield held
    sign_in._held.cache_clear()


def test_nothing_is_asked_where_nothing_is_told(settings: Settings) -> None:
    assert sign_in.servers_sign_in(settings, {}) is None


def test_the_variable_goes_before_the_file_and_the_file_before_the_vault(tmp_path: Path, vault: dict[str, str]) -> None:
    vault["https://v.vault.azure.net/s"] = "held:c:c"
    settings = Settings(
        home=tmp_path, secrets_dir=tmp_path, azure_key_vault="https://v.vault.azure.net", azure_servers_secret="s"
    )
    found = sign_in.servers_sign_in(settings, {})
    assert found is not None
    assert (found.user, found.password, found.text) == ("held", "c:c", "held:c:c")
    (tmp_path / sign_in.FILE).write_text("filed:b\n")
    found = sign_in.servers_sign_in(settings, {})
    assert found is not None
    assert found.text == "filed:b"
    found = sign_in.servers_sign_in(settings, {sign_in.VARIABLE: "told:a"})
    assert found is not None
    assert (found.text, repr(found)) == ("told:a", "SignIn(user='told')")


@pytest.mark.parametrize("text", ["secretword", "secretword:", ":secretword"])
def test_another_form_is_refused_with_its_place_and_without_its_words(text: str, settings: Settings) -> None:
    with pytest.raises(sign_in.SignInError, match=r"^MLOPS_SERVERS_SIGN_IN holds no user:password") as told:
        sign_in.servers_sign_in(settings, {sign_in.VARIABLE: text})
    assert "secretword" not in str(told.value)
    (settings.secrets / sign_in.FILE).write_text(text)
    with pytest.raises(sign_in.SignInError, match="servers-sign-in holds no user:password"):
        sign_in.servers_sign_in(settings, {})


@pytest.mark.parametrize("text", ["mlops:pä", " mlops:p", "mlops:p\n", "mlops:p\x00q"])
def test_what_servers_would_read_differently_is_refused(text: str, settings: Settings) -> None:
    with pytest.raises(sign_in.SignInError, match="printable ASCII characters, without a space at either end"):
        sign_in.servers_sign_in(settings, {sign_in.VARIABLE: text})


def test_an_outage_of_the_vault_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> str:
        raise VaultError("the vault does not answer")

    monkeypatch.setattr("mlops.adapters.azure_vault.Vault.get", away)
    monkeypatch.setattr("mlops.adapters.azure_vault.Vault.__init__", lambda *_: None)
    settings = Settings(
        home=tmp_path, secrets_dir=tmp_path, azure_key_vault="https://v.vault.azure.net", azure_servers_secret="away"
    )
    with pytest.raises(VaultError) as told:
        sign_in.servers_sign_in(settings, {})
    assert not isinstance(told.value, PERMANENT)


def test_no_password_is_told_over_a_network_in_the_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sign_in.VARIABLE, "mlops:word")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    with pytest.raises(SettingsError, match=r"mlflow_url http://mlflow\.example\.org would be told a password"):
        open_registry(Settings(home=tmp_path, mlflow_url="http://mlflow.example.org"))
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ
    # The embedded server is on this machine, whatever address it has.
    open_registry(Settings(home=tmp_path, host="0.0.0.0"))  # noqa: S104 - Nothing is bound.
    assert os.environ.pop("MLFLOW_TRACKING_USERNAME") == "mlops"


@pytest.mark.usefixtures("vault")
def test_a_vault_without_the_secret_is_an_error(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, secrets_dir=tmp_path, azure_key_vault="https://v.vault.azure.net", azure_servers_secret="absent"
    )
    with pytest.raises(sign_in.SignInError, match=r"'absent' of https://v\.vault\.azure\.net holds no user:password"):
        sign_in.servers_sign_in(settings, {})


def test_the_registry_signs_in_and_leaves_a_persons_sign_in_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # So that it is taken away again.
    monkeypatch.setenv(sign_in.VARIABLE, "mlops:a:b")
    open_registry(settings)
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("mlops", "a:b")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "mine")
    open_registry(settings)
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "mine"
