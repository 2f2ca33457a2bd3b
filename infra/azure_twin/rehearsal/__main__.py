"""``python -m infra.azure_twin.rehearsal up|run|resources|down``: a rehearsal of Azure, started, used, listed, ended.

``run COMMAND…`` runs a command which then finds the twin under Azure's names and the installation's settings in
``MLOPS_SETTINGS``; the command itself knows nothing of the twin. ``resources`` waits until flow runs have left nothing
behind, and fails when they do.
"""

import argparse
import base64
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec

from infra.azure_twin.rehearsal import landing_zone, leftovers, processes
from infra.azure_twin.rehearsal.landing_zone import ACCOUNT, Subscription
from infra.azure_twin.rehearsal.processes import RehearsalError

HOME = Path(__file__).parents[3]
AZURITE = HOME / ".tools/node_modules/.bin/azurite-blob"
STORAGE = f"{ACCOUNT}.blob.core.windows.net"
SETTINGS = "mlops.toml"
WORKER = "worker.env"
START_SECONDS = 60.0
GONE_SECONDS = 120.0
PORTS = {"prefect_port": 4210, "mlflow_port": 5010, "reports_port": 4310, "evidently_port": 4410}
"""Beside a local stack's, so that both can be up."""
VARIABLES = {"ML_COMPUTEIDLESECS": "60"}
"""Of the variable library, where the default (300 here) would let everybody wait."""


def up(folder: Path) -> dict[str, str]:
    """Start what does not run, prepare the subscription, and return the environment of a command that uses it.

    Raises:
        RehearsalError: Azurite is not installed, or a server does not start.
    """
    if not AZURITE.exists():
        raise RehearsalError(f"{AZURITE} is not there: `make tools` installs Azurite; it needs npm")
    if not processes.running(folder, "twin"):
        _start(folder)
    environment = _environment(folder)
    azure = Subscription(environment)
    landing_zone.prepare(azure)
    ports = {name: int(os.environ.get(f"MLOPS_{name.upper()}", port)) for name, port in PORTS.items()}
    _write_worker_environment(azure, environment, folder / WORKER)
    (folder / SETTINGS).write_text(landing_zone.settings(azure, ports, folder / WORKER), "utf-8")
    _make_containers(environment)
    return environment


def down(folder: Path) -> None:
    """End the installation with its scoring groups, then Azure itself."""
    installed = folder / SETTINGS
    if installed.exists():
        if not processes.running(folder, "twin"):
            _start(folder)  # It ends what a dead one left, and lets the installation find its services gone.
        environment = _environment(folder)
        _run(environment, [sys.executable, "-m", "deployments.local", "down"])
        azure = Subscription(environment)
        groups = [each for each in azure.resources() if leftovers.is_group(each)]
        for group in groups:
            azure.call("DELETE", group["id"], "2023-05-01")
        _await_gone(azure, {group["id"] for group in groups})
        sys.stdout.write("".join(f"deleted: {each['name']}\n" for each in groups))
    for name in ("twin", "azurite"):
        processes.stop(folder, name)
    installed.unlink(missing_ok=True)


def show(folder: Path) -> None:
    """Print the subscription's resources once flow runs have left nothing behind: first what runs.

    Raises:
        RehearsalError: they did.
    """
    azure = Subscription(_environment(folder))
    leftovers.await_settled(azure)
    found = sorted(azure.resources(), key=lambda body: (body["type"], body["name"]))
    running = [each for each in found if leftovers.is_group(each)]
    _print(f"Runs and costs by the hour: {len(running)} container groups of scoring services", running)
    _print("Stands, and runs nothing", [*(each for each in found if each not in running), *azure.clusters()])


def _print(title: str, resources: list[dict[str, Any]]) -> None:
    lines = [f"  {each['type']:<60} {each['name'].rpartition('/')[2]}\n" for each in resources]
    sys.stdout.write(f"{title}\n{''.join(lines)}")


def _start(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = folder / "environment.json"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", "infra.azure_twin", "--state", str(folder), "--certificate", STORAGE]
    processes.ensure(
        folder, "twin", [*command, "--forward", f"{STORAGE}=127.0.0.1:{port}"],
        lambda: told.exists() and bool(told.read_bytes()), START_SECONDS, None,
    )  # fmt: skip
    processes.stop(folder, "azurite")  # One of an earlier twin, whose certificate nobody knows any more.
    certificate = folder / "authority" / f"{STORAGE}.pem"
    blobs = folder / "azurite"
    address = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(blobs)]
    secure = ["--oauth", "basic", "--cert", str(certificate), "--key", str(certificate)]
    quiet = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    key = base64.b64encode(secrets.token_bytes(64)).decode()  # Nobody uses it: the store is opened by tokens.
    environment = {"PATH": os.environ["PATH"], "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"}
    processes.ensure(
        folder, "azurite", [str(AZURITE), *address, *secure, *quiet], lambda: _listens(port), START_SECONDS, environment
    )


def _write_worker_environment(azure: Subscription, environment: dict[str, str], file: Path) -> None:
    """Let the workers, processes of this machine, have the identity that they have as container apps on Azure.

    The secret of the subscription's owner, which they would inherit, is taken away.
    """
    asked = {"resource": landing_zone.identity(azure, "worker")}
    url = f"{environment['HTTPS_PROXY']}/twin/identities"
    told = httpx.post(url, json=asked, trust_env=False).raise_for_status().json()
    names = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_CLIENT_ID")
    given = {name: told[name] for name in names}
    given |= {"MLOPS_AZURE_CLIENT_ID": told["AZURE_CLIENT_ID"], "AZURE_CLIENT_SECRET": ""}
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in given.items()), "utf-8")


def _make_containers(environment: dict[str, str]) -> None:
    """Make the Blob containers, with the SDK in a process of the rehearsal's environment."""
    code = (
        "from azure.identity import DefaultAzureCredential as C; from azure.storage.blob import ContainerClient as K\n"
        f"for name in {landing_zone.CONTAINERS}:\n"
        f"    k = K('https://{STORAGE}', name, C()); k.exists() or k.create_container()"
    )
    done = _run(environment, [sys.executable, "-c", code])
    if done:
        raise RehearsalError("the store's containers cannot be made")


def _environment(folder: Path) -> dict[str, str]:
    told = folder / "environment.json"
    if not told.exists():
        raise RehearsalError("the rehearsal is not up: `python -m infra.azure_twin.rehearsal up`")
    found: dict[str, str] = msgspec.json.decode(told.read_bytes())
    local = {"MLOPS_SETTINGS": str(folder / SETTINGS), "MLOPS_STATE_DIR": str(folder / "state")}
    return found | local | VARIABLES


def _run(environment: dict[str, str], command: list[str]) -> int:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "MLOPS_"))}
    return subprocess.run(command, cwd=HOME, env=inherited | environment, check=False).returncode


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _await_gone(azure: Subscription, ids: set[str]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while left := ids & {each["id"] for each in azure.resources()}:
        if time.monotonic() > deadline:
            raise RehearsalError(f"still there after {GONE_SECONDS:.0f} s: {', '.join(sorted(left))}")
        time.sleep(0.5)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.azure_twin.rehearsal", description=__doc__)
    parser.add_argument("--folder", type=Path, default=HOME / ".local" / "azure")
    parser.add_argument("verb", choices=["up", "run", "resources", "down"])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    told = parser.parse_args(arguments)
    folder = told.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        match told.verb:
            case "up":
                up(folder)
            case "run":
                return _run(up(folder), told.command)
            case "resources":
                show(folder)
            case "down":
                down(folder)
    except (RehearsalError, httpx.HTTPError, OSError) as error:
        sys.stderr.write(f"rehearsal: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
