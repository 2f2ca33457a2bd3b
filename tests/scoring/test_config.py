"""The service's variables are required, and an error names the one that is wrong."""

from pathlib import Path

import msgspec
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
    folders = {"MLOPS_SCORING_SPOOL": "/spool", "MLOPS_SCORING_CACHE": "/cache"}
    limits = {"MLOPS_SCORING_LIMIT_BATCH": "7", "MLOPS_SCORING_LIMIT_SECONDS": "0.5"}
    told = config.load(GOOD | folders | limits)
    assert told.cache.parent == Path("/cache")
    assert msgspec.structs.replace(told, cache=Path()) == config.Config(
        model="iris",
        environment="uat",
        host="127.0.0.1",
        port=8123,
        store_uri="file:///a-store",
        keys_file=Path("/keys"),
        spool=Path("/spool"),
        cache=Path(),
        limits=config.Limits(batch=7, seconds=0.5),
    )


def test_the_keys_may_be_a_variable_and_are_never_shown() -> None:
    environ = GOOD | {config.KEYS: "old\nnew"}
    told = config.load(environ)
    assert told.keys_file is None
    assert "new" not in repr(told)
    assert config.open_keys(told, environ).allows(b"Bearer new")


def test_each_store_has_a_cache_of_its_own() -> None:
    caches = {config.load(GOOD | {"MLOPS_STORE": store}).cache for store in ("file:///a-store", "file:///another")}
    assert len(caches) == 2
    assert len({cache.parent for cache in caches}) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in GOOD if name != "MLOPS_STORE"),
        ("MLOPS_SCORING_MODEL", "../etc"),
        ("MLOPS_SCORING_ENVIRONMENT", "test"),
        ("MLOPS_SCORING_BIND_PORT", "65536"),
        ("MLOPS_SCORING_BIND_PORT", "http"),
        ("MLOPS_SCORING_LIMIT_BATCH", "0"),
        ("MLOPS_SCORING_LIMIT_BODY", "8 MB"),
        ("MLOPS_SCORING_LIMIT_SECONDS", "nan"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(config.ConfigError, match=name):
        config.load(GOOD | {name: value})


def test_no_variable_is_a_setting_of_the_installation_too() -> None:
    settings = {f"MLOPS_{name.upper()}" for name in Settings.__struct_fields__}
    limits = {f"{config.LIMIT}{name.upper()}" for name in config.Limits.__struct_fields__}
    own = {config.MODEL, config.ENVIRONMENT, config.PORT, config.KEYS_FILE, config.KEYS, config.SPOOL, config.CACHE}
    assert settings.isdisjoint(own | limits)
