"""Settings come from variables and one file; mistakes in either name their source."""

from pathlib import Path

import pytest

from mlops.settings import Settings, SettingsError, load


def home(tmp_path: Path, text: str = "") -> dict[str, str]:
    """Return an environment whose checkout is a folder with this settings file."""
    if text:
        (tmp_path / "mlops.toml").write_text(text)
    return {"MLOPS_HOME": str(tmp_path), "PATH": "/bin"}


def test_defaults_point_into_the_checkout(tmp_path: Path) -> None:
    settings = load(home(tmp_path))
    assert settings.store_uri == (tmp_path / ".local" / "store").as_uri()
    assert settings.models_dir == tmp_path / "deployments" / "models"
    assert settings.secrets == tmp_path / ".local" / "secrets"
    assert settings.prefect_api == "http://127.0.0.1:4200/api"
    assert settings.prefect_ui == "http://127.0.0.1:4200"


def test_the_checkout_is_found_without_a_setting() -> None:
    assert (load({}).models_dir / "iris.yaml").is_file()


def test_the_file_is_read_and_variables_win(tmp_path: Path) -> None:
    environ = home(tmp_path, 'mlflow_port = 5001\nprefect_port = 4201\nprofile = "azure"\n')
    settings = load(environ | {"MLOPS_PREFECT_PORT": "4300"})
    assert (settings.mlflow_port, settings.prefect_port, settings.profile) == (5001, 4300, "azure")


def test_another_file_can_be_named(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("scoring_port = 9000\n")
    assert load(home(tmp_path) | {"MLOPS_SETTINGS": str(other)}).scoring_port == 9000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlflow_prot = 5001", "unknown field `mlflow_prot`"),
        ('profile = "aws"', "profile"),
        ('mlflow_port = "many"', "mlflow_port"),
        ("mlflow_port = ", "not valid TOML"),
    ],
)
def test_mistakes_in_the_file_name_file_and_field(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(home(tmp_path, text))
    assert str(tmp_path / "mlops.toml") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MLOPS_PREFECT_PORT", "many", "MLOPS_PREFECT_PORT"),
        ("MLOPS_PROFILE", "aws", "MLOPS_PROFILE"),
        ("MLOPS_SETTINGS", "/absent.toml", "MLOPS_SETTINGS names /absent.toml"),
    ],
)
def test_mistakes_in_variables_name_the_variable(name: str, value: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        load(home(tmp_path) | {name: value})
    # The file is not to blame, so it is not named.
    assert "mlops.toml" not in str(caught.value)


def test_a_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    settings = load(home(tmp_path, "mlflow_port = 5001\n") | {"MLOPS_STORE": "file:///data"})
    environment = settings.environment()
    assert environment["MLOPS_STATE_DIR"] == str(tmp_path / ".local")
    again = load(environment)
    assert again == Settings(home=tmp_path, state_dir=tmp_path / ".local", mlflow_port=5001, store="file:///data")


def test_azures_own_variables_are_taken_where_ours_are_not_set(tmp_path: Path) -> None:
    told = {"AZURE_TENANT_ID": "theirs", "AZURE_CLIENT_ID": "theirs", "AZURE_SUBSCRIPTION_ID": "theirs"}
    settings = load(home(tmp_path, 'azure_client_id = "file"\n') | told | {"MLOPS_AZURE_TENANT": "ours"})
    assert (settings.azure_tenant, settings.azure_client_id, settings.azure_subscription) == ("ours", "file", "theirs")


def test_the_store_is_the_blob_container_when_account_and_container_are_set(tmp_path: Path) -> None:
    told = home(tmp_path, 'azure_storage_account = "acct"\nazure_storage_container = "mlops"\n')
    assert load(told).store_uri == "https://acct.blob.core.windows.net/mlops"
    assert load(told | {"MLOPS_STORE": "file:///data"}).store_uri == "file:///data"


def test_required_settings_are_all_named_at_once() -> None:
    settings = Settings(profile="azure", azure_region="westeurope")
    settings.require("azure_region")
    with pytest.raises(SettingsError, match=r"azure_subscription \(MLOPS_AZURE_SUBSCRIPTION\), azure_workspace"):
        settings.require("azure_region", "azure_subscription", "azure_workspace")
