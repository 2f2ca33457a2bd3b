"""Signing in: each way gives its credential, and says what it lacks."""

import datetime
from pathlib import Path

import pytest

from mlops.adapters.azure_auth import CERTIFICATE_FILE, SECRET_FILE, credential
from mlops.settings import Settings, SettingsError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "secrets").mkdir()
    return Settings(
        profile="azure",
        secrets_dir=tmp_path / "secrets",
        azure_tenant="11111111-1111-1111-1111-111111111111",
        azure_client_id="22222222-2222-2222-2222-222222222222",
    )


def signs_in(settings: Settings, way: str, **environ: str) -> str:
    """The name of the credential's class."""
    chosen = Settings(**{name: getattr(settings, name) for name in Settings.__struct_fields__} | {"azure_sign_in": way})
    return type(credential(chosen, environ)).__name__


def certificate(file: Path) -> None:
    """Write a self-signed certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + built.sign(key, hashes.SHA256()).public_bytes(pem))


def test_a_secret_comes_from_the_mounted_file_or_the_variable(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="azure-client-secret or in AZURE_CLIENT_SECRET") as caught:
        signs_in(settings, "secret")
    assert "MLOPS_AZURE_SIGN_IN" in str(caught.value)
    assert signs_in(settings, "secret", AZURE_CLIENT_SECRET="s") == "ClientSecretCredential"
    (settings.secrets / SECRET_FILE).write_text("s\n")
    assert signs_in(settings, "secret") == "ClientSecretCredential"


def test_a_certificate_comes_from_the_mounted_file_or_the_variable(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="named by AZURE_CLIENT_CERTIFICATE_PATH"):
        signs_in(settings, "certificate")
    certificate(tmp_path / "own.pem")
    way = signs_in(settings, "certificate", AZURE_CLIENT_CERTIFICATE_PATH=str(tmp_path / "own.pem"))
    assert way == "CertificateCredential"
    (settings.secrets / CERTIFICATE_FILE).write_text("no certificate")
    with pytest.raises(SettingsError, match=r"azure-client-certificate\.pem is no certificate"):
        signs_in(settings, "certificate")
    certificate(settings.secrets / CERTIFICATE_FILE)
    assert signs_in(settings, "certificate") == "CertificateCredential"


def test_workload_identity_needs_the_token_file(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AZURE_FEDERATED_TOKEN_FILE"):
        signs_in(settings, "workload_identity")
    (tmp_path / "token").write_text("t")
    token = str(tmp_path / "token")
    assert signs_in(settings, "workload_identity", AZURE_FEDERATED_TOKEN_FILE=token) == "WorkloadIdentityCredential"


@pytest.mark.parametrize("way", ["secret", "certificate", "workload_identity"])
def test_a_missing_tenant_and_client_are_both_named(way: str) -> None:
    with pytest.raises(SettingsError, match=r"MLOPS_AZURE_TENANT.*MLOPS_AZURE_CLIENT_ID"):
        signs_in(Settings(profile="azure"), way)


def test_managed_identity_and_the_default_need_nothing() -> None:
    assert signs_in(Settings(profile="azure"), "managed_identity") == "ManagedIdentityCredential"
    assert signs_in(Settings(profile="azure"), "default") == "DefaultAzureCredential"


def test_a_flow_run_that_knows_two_identities_signs_in_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, object]] = []
    monkeypatch.setattr("azure.identity.ManagedIdentityCredential", lambda **told: given.append(told))
    for told in (
        {"azure_identity": "/scoring"},
        {"azure_identity": "/scoring", "azure_flow_identity": "/flows"},
        {"azure_identity": "/scoring", "azure_flow_identity": "/flows", "azure_client_id": "of-the-job"},
    ):
        credential(Settings(profile="azure", azure_sign_in="managed_identity", **told), {})  # type: ignore[arg-type]
    assert given == [
        {"identity_config": {"resource_id": "/scoring"}},
        {"identity_config": {"resource_id": "/flows"}},
        {"client_id": "of-the-job"},
    ]
