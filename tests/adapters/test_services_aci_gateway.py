"""Scoring services behind an Application Gateway: a second group, a switch, and nobody notices."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from mlops.adapters import azure_gateway
from mlops.adapters.services import ServiceError, open_services
from mlops.adapters.services.aci_gateway import GatewayServices
from mlops.settings import Settings, SettingsError
from tests.fakes.azurite import Azurite
from tests.infra.subscription import call, installation, prepare
from tests.infra.twin import GROUP, RunningTwin

VERSION = "2024-05-01"


@pytest.fixture
def settings(azure_twin: RunningTwin, azurite: Azurite, tmp_path: Path) -> Settings:
    told = prepare(azure_twin, "mlops-scoring:1", "mlops-scoring:2")
    providers = f"/subscriptions/{azure_twin.subscription}/resourceGroups/{GROUP}/providers"
    gateway = f"{providers}/Microsoft.Network/applicationGateways/gateway"
    pools = [{"name": name, "properties": {"backendAddresses": []}} for name in ("iris-prod", "other-prod")]
    call("PUT", gateway, VERSION, {"location": "westeurope", "properties": {"backendAddressPools": pools}})
    azurite.sign_in(tmp_path / ".local" / "secrets")
    told |= {"azure_gateway": gateway, "azure_gateway_domain": "models.example.com"}
    return installation(told, tmp_path, store=azurite.container(), azure_scoring_image="mlops-scoring:1")


@pytest.fixture
def services(settings: Settings) -> Iterator[GatewayServices]:
    opened = open_services(settings)
    assert isinstance(opened, GatewayServices)
    yield opened
    opened.remove("iris", "prod")


def backends(settings: Settings, pool: str) -> list[str]:
    found: list[dict[str, Any]] = call("GET", settings.azure_gateway, VERSION).json()["properties"][
        "backendAddressPools"
    ]
    (properties,) = (each["properties"] for each in found if each["name"] == pool)
    return [each["fqdn"] for each in properties.get("backendAddresses", [])]


def leads(settings: Settings, pool: str) -> str:
    """The host that the gateway asks for a pool now, by the health that it tells."""
    found = call("POST", f"{settings.azure_gateway}/backendhealth", VERSION)
    while found.status_code == 202:
        place = urlsplit(found.headers["Location"])
        found = call("GET", place.path, VERSION)
    (health,) = (
        each for each in found.json()["backendAddressPools"] if each["backendAddressPool"]["id"].endswith(f"/{pool}")
    )
    (server,) = health["backendHttpSettingsCollection"][0]["servers"]
    return str(server["address"])


def slot(number: str) -> str:
    return f"mlops-iris-prod-{number}.westeurope.azurecontainer.io"


def test_a_new_image_comes_by_a_second_group_and_a_switch(
    services: GatewayServices, settings: Settings, azure_twin: RunningTwin, caplog: pytest.LogCaptureFixture
) -> None:
    assert services.describe("iris", "prod").status == "absent"
    service = services.ensure("iris", "prod")
    assert (service.url, service.status) == ("https://iris-prod.models.example.com", "running")
    assert services.ensure("iris", "prod") == service
    assert (services.recorded(), backends(settings, "iris-prod")) == ([service], [slot("a")])
    old = httpx.get(f"https://{slot('a')}/healthz").json()["pid"]

    newer = GatewayServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))
    assert "answers throughout" in newer.changes("iris", "prod")
    azure_twin.fail("crash in start", match="mlops-iris-prod-b/scoring")
    with pytest.raises(ServiceError, match="ended at its start"):
        newer.ensure("iris", "prod")
    assert backends(settings, "iris-prod") == [slot("a")]
    assert httpx.get(f"https://{slot('a')}/healthz").json()["pid"] == old

    azure_twin.control.delete("/twin/exchanges")
    assert newer.ensure("iris", "prod") == service
    assert "the gateway switched" in caplog.text
    assert (backends(settings, "iris-prod"), backends(settings, "other-prod")) == ([slot("b")], [])
    assert azure_twin.groups() == ["mlops-iris-prod-b"]
    changed = [each["method"] for each in azure_twin.exchanges() if each["method"] in ("PUT", "DELETE")]
    assert changed == ["PUT", "DELETE"], "the gateway leads to the new group before the old one goes"
    assert newer.changes("iris", "prod") == ""
    newer.stop("iris", "prod")
    assert newer.describe("iris", "prod").status == "stopped"


def test_a_switch_that_fails_leaves_the_old_group_and_is_made_up_for(
    services: GatewayServices, settings: Settings, azure_twin: RunningTwin
) -> None:
    services.ensure("iris", "prod")
    newer = GatewayServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))
    azure_twin.fail("forbidden", match="applicationGateways", method="PUT")
    with pytest.raises(ServiceError, match=r"gateway gateway, pool iris-prod: .*does not have authorization"):
        newer.ensure("iris", "prod")
    assert backends(settings, "iris-prod") == [slot("a")]
    assert azure_twin.groups() == ["mlops-iris-prod-a", "mlops-iris-prod-b"]
    newer.ensure("iris", "prod")
    assert (backends(settings, "iris-prod"), azure_twin.groups()) == ([slot("b")], ["mlops-iris-prod-b"])


def cut_short_in_its_switch(settings: Settings, twin: RunningTwin, patch: pytest.MonkeyPatch) -> GatewayServices:
    """Services whose change to a second image waited a second for the gateway, which takes eight."""
    newer = GatewayServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))
    twin.fail("slow gateway", seconds=8)
    patch.setattr(azure_gateway, "SWITCH_SECONDS", 1.0)
    with pytest.raises(ServiceError, match="still being updated after 1 s; Azure goes on with it"):
        newer.ensure("iris", "prod")
    return newer


def test_a_switch_that_takes_longer_than_its_time_is_waited_for_before_the_old_group_goes(
    services: GatewayServices, settings: Settings, azure_twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.ensure("iris", "prod")
    with monkeypatch.context() as patched:
        newer = cut_short_in_its_switch(settings, azure_twin, patched)
    assert (backends(settings, "iris-prod"), leads(settings, "iris-prod")) == ([slot("b")], slot("a"))
    asked = []
    with ThreadPoolExecutor() as threads:
        again = threads.submit(newer.ensure, "iris", "prod")
        while not again.done():
            asked.append(leads(settings, "iris-prod"))
            assert httpx.get(f"https://{asked[-1]}/healthz").status_code == 200
    assert again.result().status == "running"
    assert set(asked) == {slot("a"), slot("b")}
    assert azure_twin.groups() == ["mlops-iris-prod-b"]


def test_a_group_that_may_still_answer_is_not_replaced_by_a_third_image(
    services: GatewayServices, settings: Settings, azure_twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.ensure("iris", "prod")
    cut_short_in_its_switch(settings, azure_twin, monkeypatch)
    azure_twin.control.delete("/twin/exchanges")
    with pytest.raises(ServiceError, match="still being updated"):
        services.ensure("iris", "prod")  # The first image again, while the gateway is on its way to the second.
    assert azure_twin.exchanges("PUT") == []


def test_what_is_wrong_with_the_gateway_is_said(settings: Settings) -> None:
    with pytest.raises(ServiceError, match="has no backend pool 'iris-uat'; make one"):
        GatewayServices(settings).describe("iris", "uat")
    with pytest.raises(SettingsError, match="MLOPS_AZURE_GATEWAY"):
        GatewayServices(msgspec.structs.replace(settings, azure_gateway="gateway"))
    with pytest.raises(SettingsError, match="MLOPS_AZURE_GATEWAY_DOMAIN"):
        open_services(msgspec.structs.replace(settings, azure_gateway_domain=""))
