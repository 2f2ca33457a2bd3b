"""Scoring services as container groups: the contract, and what Container Instances makes special."""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

import msgspec
import pytest

from mlops.adapters.azure_auth import SECRET_FILE
from mlops.adapters.azure_vault import Vault
from mlops.adapters.services import ServiceError, open_services
from mlops.adapters.services.aci import AciServices
from mlops.adapters.services.container import KEYS
from mlops.adapters.services.keys import ensure_key, key_of, write_private
from mlops.adapters.store_blob import CONNECTION_STRING_FILE
from mlops.settings import Settings, SettingsError
from tests.adapters.services_contract import Member, ServicesContract
from tests.fakes.azurite import Azurite
from tests.infra.subscription import call, installation, prepare
from tests.infra.twin import GROUP, RunningTwin


@pytest.fixture
def settings(azure_twin: RunningTwin, azurite: Azurite, tmp_path: Path) -> Settings:
    told = prepare(azure_twin, "mlops-scoring:1")
    azurite.sign_in(tmp_path / ".local" / "secrets")
    return installation(told, tmp_path, store=azurite.container(), azure_scoring_image="mlops-scoring:1")


def removed(*opened: AciServices) -> None:
    for services in opened:
        for service in services.recorded():
            services.remove(service.model, service.environment)


@pytest.fixture
def services(settings: Settings) -> Iterator[AciServices]:
    opened = AciServices(settings)
    yield opened
    removed(opened)


class TestAciServices(ServicesContract):
    @pytest.fixture
    def member(self, settings: Settings) -> Iterator[Member]:
        yield Member(settings, open_services, msgspec.structs.replace(settings, store="ftp://nowhere"))
        removed(AciServices(settings))


def test_what_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"MLOPS_AZURE_SUBSCRIPTION.*MLOPS_AZURE_DNS_PREFIX"):
        open_services(Settings(profile="azure", home=tmp_path))


def test_secrets_are_where_secrets_belong_in_all_that_azure_is_asked(
    azure_twin: RunningTwin, services: AciServices, settings: Settings
) -> None:
    services.ensure("iris", "prod")
    services.logs("iris", "prod")
    services.remove("iris", "prod")
    key = (settings.secrets / "iris-prod.key").read_text().strip()
    connection = (settings.secrets / CONNECTION_STRING_FILE).read_text()
    account_key = connection.partition("AccountKey=")[2].partition(";")[0]
    client = azure_twin.environment["AZURE_CLIENT_SECRET"]
    seen: list[str] = []
    for exchange in azure_twin.exchanges():
        request = exchange["request"]
        if exchange["host"] == "login.microsoftonline.com" and "client_secret" in str(request):
            assert client in unquote(str(request))
            seen.append("token request")
            continue
        if isinstance(request, dict) and "containers" in request.get("properties", {}):
            for volume in request["properties"]["volumes"]:
                if secret := volume.pop("secret", {}):
                    assert b64decode(secret[KEYS]).decode().strip() == key
                    seen.append("secret volume")
        text = json.dumps(exchange)
        for secret in (key, account_key, client):
            for form in (secret, quote(secret, safe=""), b64encode(secret.encode()).decode().rstrip("=")):
                assert form not in text, f"{exchange['method']} {exchange['path']}"
    assert set(seen) == {"token request", "secret volume"}


def test_flows_in_other_containers_find_the_key_in_the_vault(
    azure_twin: RunningTwin, settings: Settings, tmp_path: Path
) -> None:
    vault = f"/subscriptions/{azure_twin.subscription}/resourceGroups/{GROUP}/providers/Microsoft.KeyVault/vaults/kv"
    call("PUT", vault, "2023-07-01", {"location": "westeurope", "properties": {}})
    here, there = (
        msgspec.structs.replace(settings, azure_key_vault="https://kv.vault.azure.net", secrets_dir=tmp_path / place)
        for place in ("here", "there")
    )
    with pytest.raises(ServiceError, match=r"no key .* https://kv\.vault\.azure\.net; its first start makes one"):
        key_of(there, "iris", "prod")
    made = ensure_key(here, "iris", "prod").read_text().strip()
    assert key_of(there, "iris", "prod") == made == key_of(here, "iris", "prod")
    assert ensure_key(there, "iris", "prod").read_text().strip() == made
    Vault(here).set("scoring-iris-prod", f"newer-key-0123456789012345678901234567\n{made}")
    assert key_of(there, "iris", "prod") == "newer-key-0123456789012345678901234567"
    azure_twin.fail("forbidden", match="vault")
    with pytest.raises(ServiceError, match=r"kv\.vault\.azure\.net: secret 'scoring-iris-prod' cannot be read"):
        key_of(here, "iris", "prod")


@pytest.mark.parametrize("way", ["secret", "certificate", "workload_identity", "default"])
def test_each_way_of_signing_in_reaches_azure(
    way: Literal["secret", "certificate", "workload_identity", "default"],
    azure_twin: RunningTwin,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way != "default":
        monkeypatch.delenv("AZURE_CLIENT_SECRET")
    if way == "secret":
        write_private(settings.secrets / SECRET_FILE, azure_twin.environment["AZURE_CLIENT_SECRET"])
    monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(azure_twin.state / "client.pem"))
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(azure_twin.state / "federated-token"))
    assert AciServices(msgspec.structs.replace(settings, azure_sign_in=way)).recorded() == []
