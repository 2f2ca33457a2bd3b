"""The service's variables are required, and an error names the one that is wrong."""

from pathlib import Path

import pytest

from mlops.scoring import config
from mlops.settings import Settings

GOOD = {
    "MLOPS_SCORING_MODEL": "iris",
    "MLOPS_SCORING_ENVIRONMENT": "uat",
    "MLOPS_SCORING_BIND_PORT": "8123",
    "MLOPS_SCORING_KEYS_FILE": "/keys",
    "MLOPS_STORE": "file:///a-store",
}


def test_all_of_it_is_read() -> None:
    assert config.load(GOOD) == config.Config(
        model="iris",
        environment="uat",
        host="127.0.0.1",
        port=8123,
        store_uri="file:///a-store",
        keys_file=Path("/keys"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in GOOD if name != "MLOPS_STORE"),
        ("MLOPS_SCORING_MODEL", "../etc"),
        ("MLOPS_SCORING_ENVIRONMENT", "test"),
        ("MLOPS_SCORING_BIND_PORT", "65536"),
        ("MLOPS_SCORING_BIND_PORT", "http"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(config.ConfigError, match=name):
        config.load(GOOD | {name: value})


def test_no_variable_is_a_setting_of_the_installation_too() -> None:
    settings = {f"MLOPS_{name.upper()}" for name in Settings.__struct_fields__}
    assert settings.isdisjoint({config.MODEL, config.ENVIRONMENT, config.PORT, config.KEYS_FILE})
