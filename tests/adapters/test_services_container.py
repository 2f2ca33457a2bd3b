"""What containers of the scoring image are told, which must be the same on every platform."""

from pathlib import Path
from typing import Any

import pytest

from mlops.adapters import store_blob
from mlops.adapters.services import aci_group, aks_manifests, container
from mlops.scoring import config
from mlops.settings import Settings

ROOT = Path(__file__).parents[2]
PLATFORMS_OWN = {"MLOPS_AZURE_SIGN_IN", "MLOPS_AZURE_IDENTITY", "MLOPS_SECRETS_DIR", "MLOPS_SCORING_KEYS_FILE"}


@pytest.fixture
def settings() -> Settings:
    return Settings(
        profile="azure",
        home=ROOT,
        store="https://acct.blob.core.windows.net/mlops",
        azure_region="westeurope",
        azure_registry="example.azurecr.io",
        azure_identity="/subscriptions/1/identity",
        azure_dns_prefix="mlops",
        kubernetes_domain="models.example.com",
    )


def on_aci(settings: Settings) -> dict[str, str]:
    wanted = aci_group.Wanted(model="iris", environment="uat", variables=container.limits(), secrets={})
    told = aci_group.build_group(settings, wanted).serialize()["properties"]["containers"][0]["properties"]
    return by_name(told["environmentVariables"])


def on_aks(settings: Settings) -> dict[str, str]:
    manifests = aks_manifests.build_manifests(settings, "iris", "uat", container.limits(), {})
    return by_name(manifests[1]["spec"]["template"]["spec"]["containers"][0]["env"])


def by_name(variables: list[dict[str, Any]]) -> dict[str, str]:
    names = [each["name"] for each in variables]
    assert names == sorted(set(names))
    return {each["name"]: each["value"] for each in variables}


def test_both_platforms_tell_a_container_the_same(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_SCORING_LIMIT_BATCH", "7")
    first, second = on_aci(settings), on_aks(settings)
    assert {name: first[name] for name in first.keys() - PLATFORMS_OWN} == {
        name: second[name] for name in second.keys() - PLATFORMS_OWN
    }
    assert first["MLOPS_AZURE_SIGN_IN"] == "managed_identity"
    assert second["MLOPS_AZURE_SIGN_IN"] == "workload_identity"
    for told in (first, second):
        read = config.load(told)
        assert (read.store_uri, read.model, read.environment) == (settings.store, "iris", "uat")
        assert (read.port, read.limits.batch) == (container.PORT, 7)
        assert read.keys_file == Path(told["MLOPS_SECRETS_DIR"]) / container.KEYS


def test_names_are_those_that_the_image_and_the_store_read() -> None:
    assert container.LIMITS == config.LIMIT
    assert container.STORE_SECRETS == (store_blob.CONNECTION_STRING_FILE, store_blob.SAS_FILE)


@pytest.mark.parametrize(
    ("limit", "size"), [(None, config.Limits().body), (" ", config.Limits().body), ("65536", 65536)]
)
def test_the_ingress_of_aks_takes_what_the_service_takes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, limit: str | None, size: int
) -> None:
    if limit is not None:
        monkeypatch.setenv("MLOPS_SCORING_LIMIT_BODY", limit)
    manifests = aks_manifests.build_manifests(settings, "iris", "uat", container.limits(), {})
    (ingress,) = [each for each in manifests if each["kind"] == "Ingress"]
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/proxy-body-size": str(size + 65536)}
