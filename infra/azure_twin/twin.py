"""One twin: its state, its servers, and the environment with which a process reaches it."""

import asyncio
import contextlib
import importlib
import os
import pkgutil
import socket
import ssl
import uuid
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from infra.azure_twin.access import OWNER, SECRETS_OFFICER
from infra.azure_twin.arm import Arm
from infra.azure_twin.authority import Authority
from infra.azure_twin.directory import Directory, Federation, Principal, new_certificate, new_secret
from infra.azure_twin.exchanges import Exchanges
from infra.azure_twin.faults import Faults
from infra.azure_twin.gate import Gate, Hosts
from infra.azure_twin.proxy import Address, Proxy
from infra.azure_twin.refusals import refusal
from infra.azure_twin.resource_types import Body
from infra.azure_twin.tokens import Tokens

if TYPE_CHECKING:
    from infra.azure_twin.services.container_instances import ContainerGroups

ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "repo:example/mlops:environment:prod"
LOCAL = "127.0.0.1,localhost"


class Forward(msgspec.Struct, frozen=True):
    """A host of Azure for which another server on loopback stands in (Azurite); the twin only connects to it."""

    host: str
    address: Address


class Twin:
    """The parts of the twin; services add themselves to ``hosts``, ``arm`` and ``plain``."""

    def __init__(self, state: Path, location: str = "westeurope", forwards: tuple[Forward, ...] = ()) -> None:
        self.state = state
        self.subscription = str(uuid.uuid4())
        self.tokens = Tokens(str(uuid.uuid4()))
        self.authority = Authority(state / "authority")
        self.directory = Directory()
        self.faults = Faults()
        self.exchanges = Exchanges()
        self.hosts = Hosts()
        self.arm = Arm(self.tokens, self.subscription, location)
        self.hosts.add("management.azure.com", self.arm)
        self.plain: list[BaseRoute] = []
        """Routes without TLS: what containers and tests ask on the twin's own address."""
        self.identities: dict[str, list[Principal]] = {}
        """Managed identities by the identity header of the container that may use them."""
        self.networks: dict[str, dict[int, Address]] = {}
        """Where the ports of container groups are, by host name or address."""
        self.stoppers: list[Callable[[], Awaitable[None]]] = []
        """What services end when the twin does."""
        self.container_groups: ContainerGroups
        self.may_pull: Callable[[str, Body, list[str]], bool]
        """Whether an image can be pulled by a group with these properties and identities."""
        self.read_secret: Callable[[str, Principal], str]
        """The value of a vault's secret by its address, for a principal; an ``AzureError`` when it may not read it."""
        self.registry_allows: Callable[[str, str], bool]
        """Whether a principal may pull from a login server; from one outside of the subscription everybody may."""
        self.port = 0
        self._forwards = {each.host: each.address for each in forwards}
        self._servers: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []
        self._install()
        self.application = self._make_application()
        # Owner has no data actions, so whoever owns a subscription needs another role to use its vaults.
        for role in (OWNER, SECRETS_OFFICER):
            self.arm.access.grant(self.application.object_id, role, f"/subscriptions/{self.subscription}")

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; then ``environment`` holds."""
        refuse = partial(refusal, self)
        gate = Gate(self.hosts, self.faults, self.exchanges, lambda port: self._proxy.cut(port), refuse)
        plain = await self._serve(Starlette(routes=self.plain))
        self._secure = await self._serve(gate, self.authority.server_context())
        self._proxy = Proxy(self._route, plain, self._strike)
        self.port = await self._proxy.start(port)
        # In one step: who waits for the file reads all of it.
        (draft := self.state / "environment.json.new").touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(self.environment()))
        draft.replace(self.state / "environment.json")

    async def stop(self) -> None:
        """End all container groups and stop listening."""
        for each in self.stoppers:
            await each()
        await self._proxy.stop()
        for server, task in self._servers:
            server.should_exit = server.force_exit = True
            await task
        (self.state / "environment.json").unlink(missing_ok=True)

    def network(self) -> dict[str, str]:
        """The variables with which a process, SDK or worker reaches the twin by Azure's names."""
        bundle = str(self.authority.bundle)
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": LOCAL,
            "no_proxy": LOCAL,
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "CURL_CA_BUNDLE": bundle,
        }

    def environment(self) -> dict[str, str]:
        """The network's variables and a sign-in as the service principal that owns the subscription."""
        return {
            **self.network(),
            "AZURE_TENANT_ID": self.tokens.tenant,
            "AZURE_SUBSCRIPTION_ID": self.subscription,
            "AZURE_CLIENT_ID": self.application.client_id,
            "AZURE_CLIENT_SECRET": self.application.secrets[0],
        }

    @property
    def url(self) -> str:
        """The proxy's address, and that of the control endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def _make_application(self) -> Principal:
        """The service principal, with all three kinds of credentials; files that only their owner reads."""
        both, public = new_certificate()
        for name, text in (
            ("client.pem", both),
            ("federated-token", self.tokens.federated(ISSUER, SUBJECT).encode()),
        ):
            (self.state / name).touch(mode=0o600)
            (self.state / name).write_bytes(text)
        principal = Principal(secrets=[new_secret()], certificates=[public], federations=[Federation(ISSUER, SUBJECT)])
        return self.directory.add(principal)

    def _install(self) -> None:
        from infra.azure_twin import services

        for module in pkgutil.iter_modules(services.__path__):
            importlib.import_module(f"{services.__name__}.{module.name}").install(self)

    def _route(self, host: str, port: int) -> Address | None:
        """Where CONNECT leads."""
        if port == 443 and host in self._forwards:
            return self._forwards[host]
        if host in self.networks:
            return self.networks[host].get(port)
        return self._secure if port == 443 and self.hosts.find(host) else None

    def _strike(self, host: str) -> bool:
        """Whether the network fails at what is sent to a storage account or a container group; the gate has the rest.

        Faults that name a method are the gate's: nobody sees the method of what passes by here.
        """
        passing = host in self._forwards or host in self.networks
        return passing and self.faults.take(["network cut"], f"{host}/", "CONNECT") is not None

    async def _serve(self, app: ASGIApp, context: ssl.SSLContext | None = None) -> Address:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,  # Longer than clients keep theirs: whoever ends first must not be asked any more.
            ssl_context_factory=(lambda *_: context) if context else None,
        )
        server = _Server(config)
        self._servers.append((server, asyncio.create_task(server.serve(sockets=[listener]))))
        address: Address = listener.getsockname()
        return address


class _Server(uvicorn.Server):
    """Uvicorn that leaves the signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def private_folder(folder: Path) -> Path:
    """Make a folder that only its owner reads."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)  # noqa: PTH101
    return folder
