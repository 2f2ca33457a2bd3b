"""Azurite, Microsoft's emulator of Azure Storage, as a process of the test session."""

import secrets
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".tools/node_modules/.bin/azurite-blob"
START_SECONDS = 30


@dataclass(frozen=True)
class Azurite:
    """A running emulator with one account."""

    url: str
    account: str
    key: str

    @property
    def connection_string(self) -> str:
        """What every client signs in with."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={self.key};BlobEndpoint={self.url};"
        )

    def container(self) -> str:
        """Make a container of a new name and return its URI."""
        from azure.storage.blob import BlobServiceClient

        name = f"c{secrets.token_hex(6)}"
        with BlobServiceClient.from_connection_string(self.connection_string) as client:
            client.create_container(name)
        return f"{self.url}/{name}"

    def sign_in(self, secrets_dir: Path) -> None:
        """Mount the connection string as the secret that the store reads."""
        from mlops.adapters.store_blob import CONNECTION_STRING_FILE

        secrets_dir.mkdir(parents=True, exist_ok=True)
        (secrets_dir / CONNECTION_STRING_FILE).write_text(self.connection_string)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One emulator for the session."""
    port = free_port()
    with running_azurite(tmp_path_factory.mktemp("azurite"), port, "test") as key:
        yield Azurite(f"http://127.0.0.1:{port}/test", "test", key)


@contextmanager
def running_azurite(folder: Path, port: int, account: str, *arguments: str) -> Iterator[str]:
    """An emulator of one account, which keeps everything in memory; gives the account's key."""
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is not installed: run `make tools` (make test does; it needs npm)", pytrace=False)
    key, log = b64encode(secrets.token_bytes(64)).decode(), folder / "azurite.log"
    command = [PROGRAM, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--skipApiVersionCheck", "--disableTelemetry", "--silent", *arguments],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "AZURITE_ACCOUNTS": f"{account}:{key}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port, log)
        yield key
    finally:
        process.kill()  # Asked to end, it waits for its clients' connections; it keeps nothing.
        process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"Azurite did not start:\n{log.read_text()}")
