"""What is special about the Blob store: blocks, digests, lost answers, sign-in, and what it says of refusals."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient, ContainerSasPermissions, LinearRetry, generate_container_sas

from mlops.adapters import store_blob
from mlops.adapters.store import Conflict, NotFound, StoreError, open_store
from mlops.adapters.store_blob import BLOCK, CONNECTION_STRING_FILE, SAS_FILE, BlobStore
from mlops.settings import Settings, SettingsError
from tests.fakes.azurite import Azurite


class LossyTransport(RequestsTransport):
    """Carries requests, but loses as many answers to puts as it is told."""

    lose = 0

    def send(self, request: Any, **options: Any) -> Any:
        answer = super().send(request, **options)
        if request.method == "PUT" and self.lose:
            self.lose -= 1
            raise ServiceResponseError("connection reset by peer")
        return answer


@pytest.fixture(scope="module")
def uri(azurite: Azurite) -> str:
    return azurite.container()


@pytest.fixture
def container(azurite: Azurite, uri: str) -> ContainerClient:
    return ContainerClient.from_connection_string(azurite.connection_string, uri.rpartition("/")[2])


@pytest.fixture
def store(container: ContainerClient) -> BlobStore:
    return BlobStore(container)


@pytest.fixture
def lossy(azurite: Azurite, uri: str) -> tuple[BlobStore, LossyTransport]:
    transport = LossyTransport()
    name = uri.rpartition("/")[2]
    client = ContainerClient.from_connection_string(
        azurite.connection_string, name, transport=transport, retry_policy=LinearRetry(0, 2, random_jitter_range=0)
    )
    return BlobStore(client), transport


def test_large_objects_move_in_blocks_with_progress(container: ContainerClient) -> None:
    told: list[tuple[str, int, int]] = []
    store = BlobStore(container, lambda *step: told.append(step))
    data = bytes(range(256)) * (3 * BLOCK // 256) + b"end"
    tag = store.put_if_absent("large", data)
    assert told == [("large", done, len(data)) for done in (BLOCK, 2 * BLOCK, 3 * BLOCK, len(data))]
    told.clear()
    assert store.get_with_etag("large") == (data, tag)
    assert told[-1] == ("large", len(data), len(data))
    with pytest.raises(Conflict, match="large exists already"):
        store.put_if_absent("large", data)
    with pytest.raises(Conflict, match="changed meanwhile"):
        store.put_if_match("large", data, '"0x1"')


def test_two_writers_of_a_large_object_never_mix_their_blocks(store: BlobStore) -> None:
    versions = [bytes([number]) * (2 * BLOCK + 1) for number in (1, 2, 3)]
    threads = [threading.Thread(target=store.put, args=("contested", data)) for data in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("contested") in versions


def test_an_object_altered_by_others_is_not_read(store: BlobStore, container: ContainerClient) -> None:
    store.put("kept", b"what was put")
    blob = container.get_blob_client("kept")
    metadata = blob.get_blob_properties().metadata
    blob.upload_blob(b"what came instead", overwrite=True, metadata=metadata)
    with pytest.raises(StoreError, match="kept: altered since it was stored"):
        store.get("kept")


def test_objects_of_other_tools_are_read(store: BlobStore, container: ContainerClient) -> None:
    container.upload_blob("iris/landing/a.csv", b"rows")
    assert store.get("iris/landing/a.csv") == b"rows"
    assert store.list("iris/landing/") == ["iris/landing/a.csv"]


def test_a_conditional_put_whose_answer_was_lost_has_won(lossy: tuple[BlobStore, LossyTransport]) -> None:
    store, transport = lossy
    transport.lose = 1
    tag = store.put_if_absent("claimed", b"mine")
    assert store.get_with_etag("claimed") == (b"mine", tag)
    transport.lose = 1
    newer = store.put_if_match("claimed", b"still mine", tag)
    assert store.get_with_etag("claimed") == (b"still mine", newer)
    with pytest.raises(Conflict):
        store.put_if_absent("claimed", b"still mine")


def test_answers_that_stay_lost_are_an_error_that_says_so(lossy: tuple[BlobStore, LossyTransport]) -> None:
    store, transport = lossy
    transport.lose = 100
    with pytest.raises(StoreError, match="connection reset by peer"):
        store.put("lost", b"")


def test_a_sas_opens_the_container_and_no_more_than_it_allows(azurite: Azurite, uri: str, tmp_path: Path) -> None:
    def sas(**allowed: bool) -> str:
        expiry = datetime.now(UTC) + timedelta(hours=1)
        permission = ContainerSasPermissions(**allowed)
        name = uri.rpartition("/")[2]
        return generate_container_sas(azurite.account, name, azurite.key, permission=permission, expiry=expiry)

    settings = Settings(secrets_dir=tmp_path)
    (tmp_path / SAS_FILE).write_text("?" + sas(read=True, write=True, create=True, delete=True, list=True) + "\n")
    open_store(uri, settings).put("by-sas", b"1")
    (tmp_path / SAS_FILE).write_text(sas(read=True))
    reader = open_store(uri, settings)
    assert reader.get("by-sas") == b"1"
    with pytest.raises(StoreError, match="Storage Blob Data Contributor") as caught:
        reader.put("by-sas", b"2")
    assert "sig=" not in str(caught.value)


def test_a_wrong_key_is_refused_without_showing_it(azurite: Azurite, uri: str, tmp_path: Path) -> None:
    other = "b3RoZXIga2V5IG9mIHRoZSBzYW1lIHNoYXBl"
    (tmp_path / CONNECTION_STRING_FILE).write_text(azurite.connection_string.replace(azurite.key, other))
    with pytest.raises(StoreError, match="refused") as caught:
        open_store(uri, Settings(secrets_dir=tmp_path)).get("any")
    assert other not in str(caught.value)


def test_a_container_that_is_not_there_is_no_empty_store(azurite: Azurite, tmp_path: Path) -> None:
    azurite.sign_in(tmp_path)
    store = open_store(f"{azurite.url}/no-such", Settings(secrets_dir=tmp_path))
    calls: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.list(""),
        lambda: store.put("k", b""),
        lambda: store.etag("k"),
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"there is no container .*no-such.*MLOPS_STORE") as caught:
            call()
        assert not isinstance(caught.value, NotFound)


def test_a_store_that_is_away_is_an_error_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_blob, "RETRIES", 0)
    (tmp_path / SAS_FILE).write_text("sv=1&sig=c2VjcmV0")
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9/account/c1.*refused") as caught:
        open_store("http://127.0.0.1:9/account/c1", Settings(secrets_dir=tmp_path)).get("k")
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://acct.blob.core.windows.net/c1", "use https"),
        ("https://acct.blob.core.windows.net", "must be https"),
        ("https://acct.blob.core.windows.net/c1/folder", "must be https"),
        ("https://acct.blob.core.windows.net/Upper", "must be https"),
        ("https://acct.blob.core.windows.net/c1?sig=s", "must be https"),
        ("http://127.0.0.1:10000/c1", "must be https"),
    ],
)
def test_a_wrong_uri_says_what_is_wanted(uri: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_store(uri, Settings(secrets_dir=tmp_path))
    assert "MLOPS_STORE" in str(caught.value)


def test_what_signing_in_lacks_is_named_at_once(tmp_path: Path) -> None:
    uri = "https://acct.blob.core.windows.net/c1"
    with pytest.raises(SettingsError, match="MLOPS_AZURE_TENANT"):
        open_store(uri, Settings(secrets_dir=tmp_path, azure_sign_in="secret"))
    (tmp_path / CONNECTION_STRING_FILE).write_text("nonsense")
    with pytest.raises(StoreError, match="storage-connection-string is no connection string") as caught:
        open_store(uri, Settings(secrets_dir=tmp_path))
    assert "nonsense" not in str(caught.value)
