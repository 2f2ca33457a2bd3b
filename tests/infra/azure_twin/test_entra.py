"""Signing in to the twin by Azure's own libraries, and being refused."""

from pathlib import Path

import httpx
import jwt
import pytest
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import (
    CertificateCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.resource import ResourceManagementClient

from tests.infra.twin import GROUP, RunningTwin

SCOPE = "https://management.azure.com/.default"


def sign_ins(twin: RunningTwin) -> dict[str, TokenCredential]:
    tenant, client = twin.environment["AZURE_TENANT_ID"], twin.environment["AZURE_CLIENT_ID"]
    return {
        "secret": ClientSecretCredential(tenant, client, twin.environment["AZURE_CLIENT_SECRET"]),
        "certificate": CertificateCredential(tenant, client, str(twin.state / "client.pem")),
        "federated": WorkloadIdentityCredential(
            tenant_id=tenant, client_id=client, token_file_path=str(twin.state / "federated-token")
        ),
    }


@pytest.mark.parametrize("kind", ["secret", "certificate", "federated"])
def test_each_credential_of_the_service_principal_is_a_decodable_token(azure_twin: RunningTwin, kind: str) -> None:
    token = sign_ins(azure_twin)[kind].get_token(SCOPE).token
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["appid"] == azure_twin.environment["AZURE_CLIENT_ID"]
    assert (claims["aud"], claims["tid"]) == ("https://management.azure.com", azure_twin.environment["AZURE_TENANT_ID"])


def test_a_wrong_secret_is_answered_as_entra_does(azure_twin: RunningTwin) -> None:
    wrong = ClientSecretCredential(
        azure_twin.environment["AZURE_TENANT_ID"], azure_twin.environment["AZURE_CLIENT_ID"], "wrong"
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215: Invalid client secret provided"):
        wrong.get_token(SCOPE)


def test_an_unknown_client_and_an_unknown_certificate_are_refused(azure_twin: RunningTwin, tmp_path: Path) -> None:
    from infra.azure_twin.directory import new_certificate

    tenant, client = azure_twin.environment["AZURE_TENANT_ID"], azure_twin.environment["AZURE_CLIENT_ID"]
    unknown = ClientSecretCredential(tenant, "11111111-2222-3333-4444-555555555555", "any")
    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        unknown.get_token(SCOPE)
    (tmp_path / "other.pem").write_bytes(new_certificate()[0])
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        CertificateCredential(tenant, client, str(tmp_path / "other.pem")).get_token(SCOPE)


def test_a_foreign_federated_assertion_is_refused(azure_twin: RunningTwin, tmp_path: Path) -> None:
    from infra.azure_twin.tokens import Tokens

    foreign = tmp_path / "token"
    foreign.write_text(Tokens("other").federated("https://issuer.example", "someone"))
    credential = WorkloadIdentityCredential(
        tenant_id=azure_twin.environment["AZURE_TENANT_ID"],
        client_id=azure_twin.environment["AZURE_CLIENT_ID"],
        token_file_path=str(foreign),
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        credential.get_token(SCOPE)


def test_an_expired_token_is_refused_as_documented(azure_twin: RunningTwin) -> None:
    azure_twin.control.post("/twin/tokens", json={"seconds": -1})
    client = ResourceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    with pytest.raises(HttpResponseError, match="ExpiredAuthenticationToken"):
        list(client.resource_groups.list())


def test_a_claims_challenge_is_met_by_a_new_token(azure_twin: RunningTwin) -> None:
    azure_twin.fail("claims challenge", match="management.azure.com")
    client = ResourceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    assert list(client.resource_groups.list()) == []
    answers = [each["status"] for each in azure_twin.exchanges(path="resourcegroups")]
    assert answers == [401, 200]


def test_a_request_without_a_token_is_refused(azure_twin: RunningTwin) -> None:
    answer = httpx.get(f"https://management.azure.com/subscriptions/{azure_twin.subscription}?api-version=2022-12-01")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "AuthenticationFailed")


def test_the_identity_endpoint_knows_who_asks(azure_twin: RunningTwin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{azure_twin.environment['HTTPS_PROXY']}/identity/token")
    monkeypatch.setenv("IDENTITY_HEADER", "not of a container")
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(SCOPE)


SIGN_IN = """\
import os, jwt
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
assert "IDENTITY_ENDPOINT" not in os.environ
named = ManagedIdentityCredential(client_id=os.environ["ID"])
for each in (ManagedIdentityCredential(), DefaultAzureCredential(), named):
    token = each.get_token("https://management.azure.com/.default").token
    print(jwt.decode(token, options={"verify_signature": False})["appid"], flush=True)
print(os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"], flush=True)
import time; time.sleep(600)
"""


def test_a_container_group_asks_the_instance_metadata_service(azure_twin: RunningTwin) -> None:
    base = f"/subscriptions/{azure_twin.subscription}/resourceGroups/{GROUP}"
    azure_twin.arm("PUT", base, "2021-04-01", {"location": "westeurope"})
    identity = f"{base}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mine"
    client = azure_twin.arm("PUT", identity, "2023-01-31", {"location": "westeurope"}).json()["properties"]["clientId"]
    group = f"{base}/providers/Microsoft.ContainerInstance/containerGroups/asks"
    container = {
        "image": "python:3.11-slim",
        "command": ["python", "-c", SIGN_IN],
        "environmentVariables": [{"name": "ID", "value": client}],
        "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
    }
    properties = {
        "containers": [{"name": "main", "properties": container}],
        "osType": "Linux",
        "restartPolicy": "Never",
    }
    identities = {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    body = {"location": "westeurope", "identity": identities, "properties": properties}
    azure_twin.arm("PUT", group, "2023-05-01", body)

    def log() -> list[str]:
        found = azure_twin.arm("GET", f"{group}/containers/main/logs", "2023-05-01").json()["content"]
        return str(found).split()

    azure_twin.wait_for(lambda: len(log()) >= 4)
    *clients, service = log()
    assert clients == [client] * 3
    url = f"{service}/metadata/identity/oauth2/token"
    told = {"params": {"resource": SCOPE, "api-version": "2018-02-01"}, "trust_env": False}
    assert httpx.get(url, **told).json()["error_description"] == "Required metadata header not specified"  # type: ignore[arg-type]
    for name, value in (("client_id", client), ("msi_res_id", identity), ("mi_res_id", identity)):
        for wanted, status in ((value, 200), ("another", 400)):
            answer = httpx.get(f"{url}?{name}={wanted}", headers={"Metadata": "true"}, trust_env=False)
            assert answer.status_code == status
    assert answer.json() == {"error": "invalid_request", "error_description": "Identity not found"}
