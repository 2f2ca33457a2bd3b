"""The object store in a container of Azure Blob Storage, or of Azurite, its emulator."""

import base64
import hashlib
import ipaddress
import logging
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, ContentSettings, ExponentialRetry

from mlops.adapters.azure_auth import credential, read_secret
from mlops.adapters.store import Altered, Conflict, NotFound, StoreError, check_key, is_hidden
from mlops.settings import Settings

if TYPE_CHECKING:
    from azure.storage.blob._models import BlobProperties

logger = logging.getLogger(__name__)
CONNECTION_STRING_FILE = "storage-connection-string"
SAS_FILE = "storage-sas"
BLOCK = 8 * 1024 * 1024
"""Bytes in one block; what is larger is moved as several at once."""
PARALLEL = 4
TRIES = 5
"""How often a transfer begins again because somebody else wrote the same object meanwhile."""
CONNECT_SECONDS, READ_SECONDS, RETRIES = 10, 60, 5
Progress = Callable[[str, int, int], None]
"""Told the key, the bytes moved and the bytes in all."""
ABSENT: dict[str, Any] = {"match_condition": MatchConditions.IfMissing}


def open_blob_store(uri: str, settings: Settings) -> "BlobStore":
    """Open ``https://<account>.blob.core.windows.net/<container>`` or ``http://127.0.0.1:<port>/<account>/<container>``.

    Signs in with the file ``storage-connection-string`` in the secrets folder, else with ``storage-sas`` there, else
    as the settings say (``azure_auth.credential``). Nothing is asked of the service yet.

    Raises:
        StoreError: the URI is not a container's.
        mlops.settings.SettingsError: signing in needs something that is not set.
    """
    account, container = split_uri(uri)
    logging.getLogger("azure").setLevel(logging.WARNING)  # Each request would be a line of the log at level INFO.
    options: dict[str, Any] = {
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=RETRIES),
        "max_single_get_size": BLOCK,
        "max_chunk_get_size": BLOCK,
        "max_single_put_size": BLOCK,
    }
    if text := read_secret(settings, CONNECTION_STRING_FILE):
        try:
            return BlobStore(ContainerClient.from_connection_string(text, container, **options))
        except ValueError as error:
            raise StoreError(f"{settings.secrets / CONNECTION_STRING_FILE} is no connection string: {error}") from None
    signed = read_secret(settings, SAS_FILE).lstrip("?") or credential(settings)
    return BlobStore(ContainerClient(account, container, signed, **options))


class BlobStore:
    """Objects as block blobs; conditions are the service's own, by ``If-None-Match`` and ``If-Match``.

    Every object carries its SHA-256 and the id of the put that wrote it: what is read is checked, and a conditional
    put whose answer was lost is told apart from one that lost a race.
    """

    def __init__(self, container: ContainerClient, progress: Progress | None = None) -> None:
        self._container = container
        self._progress = progress or _log_progress()

    def get(self, key: str) -> bytes:
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        for _ in range(TRIES):
            with self._translated(key):
                try:
                    return self._download(key)
                except ResourceModifiedError:
                    continue  # Replaced between two blocks of a large object.
        raise StoreError(f"{key} changes faster than it can be read")

    def etag(self, key: str) -> str | None:
        try:
            return str(self._properties(key).etag)
        except NotFound:
            return None

    def put(self, key: str, data: bytes) -> str:
        return self._put(key, data, {})

    def put_if_absent(self, key: str, data: bytes) -> str:
        return self._put(key, data, ABSENT)

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        return self._put(key, data, {"etag": etag, "match_condition": MatchConditions.IfNotModified})

    def list(self, prefix: str) -> list[str]:
        with self._translated(prefix):
            names = list(self._container.list_blob_names(name_starts_with=prefix))
        return sorted(name for name in names if not is_hidden(name))

    def delete(self, key: str) -> None:
        try:
            with self._translated(key):
                self._blob(key).delete_blob()
        except NotFound:
            return

    def _download(self, key: str) -> tuple[bytes, str]:
        stream = self._blob(key).download_blob(
            max_concurrency=PARALLEL, progress_hook=lambda done, size: self._progress(key, done, size or done)
        )
        data = bytes(stream.readall())
        expected = stream.properties.metadata.get("sha256")
        if expected and hashlib.sha256(data).hexdigest() != expected:
            raise Altered(f"{key}: altered since it was stored (SHA-256 differs from the one in its metadata)")
        return data, str(stream.properties.etag)

    def _put(self, key: str, data: bytes, condition: dict[str, Any]) -> str:
        """Write an object in one request, or its blocks at once and then their list under the condition."""
        mark = uuid.uuid4().hex
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        how: dict[str, Any] = condition | {
            "metadata": {"sha256": hashlib.sha256(data).hexdigest(), "put": mark},
            "content_settings": ContentSettings(content_md5=bytearray(md5)),
        }
        for _ in range(TRIES):
            with self._translated(key):
                blob = self._blob(key)
                try:
                    if len(data) <= BLOCK:
                        written = blob.upload_blob(data, overwrite=True, validate_content=True, **how)
                    else:
                        written = blob.commit_block_list([*self._stage(key, blob, data)], **how)
                    return str(written["etag"])
                except (ResourceExistsError, ResourceModifiedError) as error:
                    return self._own(key, mark, error)
                except HttpResponseError as error:
                    if _code(error) != "InvalidBlockList":
                        raise
                    # Another writer's commit of the same object discarded these blocks; the condition decides anew.
        raise StoreError(f"{key} changes faster than it can be written")

    def _own(self, key: str, mark: str, refused: Exception) -> str:
        """The tag of what a refused put wrote after all, in a try whose answer was lost."""
        try:
            found = self._properties(key)
        except NotFound:
            raise Conflict(f"{key} was deleted meanwhile") from refused
        if found.metadata.get("put") == mark:
            return str(found.etag)
        exists = isinstance(refused, ResourceExistsError)
        raise Conflict(f"{key} {'exists already' if exists else f'changed meanwhile (tag {found.etag})'}") from refused

    def _stage(self, key: str, blob: BlobClient, data: bytes) -> Sequence[BlobBlock]:
        """Send blocks, several at once, each checked by its MD5.

        Their names are this put's own. By the SDK's names, which are offsets, two writers would mix their blocks.
        """
        mark, moved = uuid.uuid4().hex, 0
        view = memoryview(data)
        blocks = {_block_id(mark, at): bytes(view[at : at + BLOCK]) for at in range(0, len(data), BLOCK)}

        def send(block: str) -> int:
            blob.stage_block(block, blocks[block], validate_content=True)
            return len(blocks[block])

        with ThreadPoolExecutor(PARALLEL) as pool:
            for sent in pool.map(send, blocks):
                moved += sent
                self._progress(key, moved, len(data))
        return tuple(BlobBlock(block) for block in blocks)

    def _properties(self, key: str) -> "BlobProperties":
        with self._translated(key):
            return self._blob(key).get_blob_properties()

    def _blob(self, key: str) -> BlobClient:
        check_key(key)
        return self._container.get_blob_client(key)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Say what the service says in the store's words."""
        where = self._container.url.partition("?")[0]
        try:
            yield
        except ResourceNotFoundError as error:
            if _code(error) == "ContainerNotFound":
                raise StoreError(f"there is no container {where}; make it, or change store (MLOPS_STORE)") from None
            raise NotFound(key) from None
        except AzureError as error:
            if isinstance(error, ClientAuthenticationError) or getattr(error, "status_code", None) == 403:
                raise StoreError(
                    f"{where} refused {key!r} ({_reason(error)}): the identity needs the role Storage Blob Data "
                    "Contributor on the container, or a SAS with read, write, create, delete and list"
                ) from None
            raise StoreError(f"{where}, {key!r}: {_reason(error)}") from error


def split_uri(uri: str) -> tuple[str, str]:
    """Split a store's URI into the account's URL and the container.

    Raises:
        StoreError: it is no container's URI.
    """
    parsed = urlparse(uri)
    path = parsed.path.strip("/").split("/")
    local = _is_loopback(parsed.hostname or "")
    if parsed.scheme == "http" and not local:
        raise StoreError(f"store {uri!r}: use https; http would show the credential to the network (MLOPS_STORE)")
    if len(path) != (2 if local else 1) or not re.fullmatch(r"[a-z0-9](-?[a-z0-9])+", path[-1]) or parsed.query:
        raise StoreError(
            f"store {uri!r}: must be https://<account>.blob.core.windows.net/<container>, or Azurite's "
            "http://127.0.0.1:<port>/<account>/<container> (setting `store`, variable MLOPS_STORE)"
        )
    return "/".join([f"{parsed.scheme}://{parsed.netloc}", *path[:-1]]), path[-1]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _block_id(mark: str, offset: int) -> str:
    """Name a block; all blocks of an object must have names of one length."""
    return base64.b64encode(f"{mark}-{offset:015d}".encode()).decode()


def _code(error: AzureError) -> str:
    """The storage service's own error code; empty when the error is none of the service's."""
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _reason(error: AzureError) -> str:
    return ": ".join(filter(None, [_code(error), str(error.message).partition("\n")[0]]))


def _log_progress() -> Progress:
    """Log the tenths of transfers of more than eight blocks."""
    seen: dict[str, int] = {}

    def log(key: str, done: int, size: int) -> None:
        tenth = 10 * done // max(size, 1)
        if size > 8 * BLOCK and tenth > seen.get(key, 0):
            logger.info("%s: %d of %d MB", key, done // 10**6, size // 10**6)
            seen[key] = tenth
        if done >= size:
            seen.pop(key, None)

    return log
