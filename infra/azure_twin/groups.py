"""A container group on this machine: its address on loopback, its volumes, its containers."""

import asyncio
import base64
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.azure_twin import images, isolation
from infra.azure_twin.containers import Container, local_port
from infra.azure_twin.directory import Principal, new_secret
from infra.azure_twin.errors import documented
from infra.azure_twin.images import Plan
from infra.azure_twin.operations import utc
from infra.azure_twin.resource_ids import ResourceId
from infra.azure_twin.resource_types import Body

if TYPE_CHECKING:
    from infra.azure_twin.twin import Twin

INHERITED = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER")
START_SECONDS = 30.0


class Group:
    """The processes, folders and names of one group."""

    def __init__(self, twin: "Twin", rid: ResourceId) -> None:
        self.rid = rid
        self.containers: list[Container] = []
        self.inits: list[Container] = []
        self.state = "Pending"
        self._twin = twin
        self._folder = twin.state / "groups" / rid.group / rid.name
        self._events: list[Body] = []
        self._names: list[str] = []
        self._header = new_secret()
        self.move()

    @property
    def living(self) -> bool:
        """Whether it is neither stopped nor at its end; what is not living is deployed anew by a PUT."""
        return self.condition() in ("Running", "Pending")

    def move(self) -> None:
        """Take another address."""
        # Each group has an address of its own, so that the ports of groups do not meet.
        self.address = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])  # noqa: S311

    def note(self, name: str, message: str) -> None:
        """Add an event."""
        moment = utc(time.time())
        shown = {"count": 1, "firstTimestamp": moment, "lastTimestamp": moment, "name": name, "message": message}
        self._events.append(shown | {"type": "Normal"})

    def give_address(self, properties: Body) -> None:
        """Fill in the address and the name that Azure gives."""
        for name in self._names:
            self._twin.networks.pop(name, None)
        self._names = []
        if not (wanted := properties.get("ipAddress")):
            return
        wanted["ip"] = self.address
        self._names = [self.address]
        if label := wanted.get("dnsNameLabel"):
            wanted["fqdn"] = f"{label}.{self._twin.arm.location}.azurecontainer.io"
            self._names.append(wanted["fqdn"])

    async def start(self, made: Body) -> None:
        """End what runs and start every container.

        Raises:
            AzureError: none here; a container that does not start is seen in the instance view.
        """
        await self.stop()
        properties = made["properties"]
        self._allow_identities(made)
        mounts = self._mounts(properties)
        policy = properties.get("restartPolicy", "Always")
        self.inits = [self._make(each, properties, mounts, "Never") for each in properties.get("initContainers") or []]
        self.containers = [self._make(each, properties, mounts, policy) for each in properties["containers"]]
        self.state = "Pending"
        for container in self.inits:
            container.start()
            if await container.finished():
                self.state = "Failed"
                return
        for container in self.containers:
            container.start()
        await asyncio.wait_for(asyncio.gather(*(each.started.wait() for each in self.containers)), START_SECONDS)
        self._open(properties)
        self.state = "Running"

    async def stop(self) -> None:
        """End every container."""
        for name in self._names:
            self._twin.networks.pop(name, None)
        await asyncio.gather(*(each.stop() for each in [*self.inits, *self.containers]))

    def forget(self) -> None:
        """Let go of its folders and identities."""
        self._twin.identities.pop(self._header, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def condition(self) -> str:
        """The group's state by what its containers do."""
        if self.state in ("Stopped", "Failed", "Pending") or not self.containers:
            return self.state
        states = [each.current for each in self.containers]
        if any(each["state"] != "Terminated" for each in states):
            return "Running"
        return "Failed" if any(each["exitCode"] for each in states) else "Succeeded"

    def show(self, properties: Body) -> None:
        """Add the instance views to a body that a reader gets."""
        properties["instanceView"] = {"events": self._events, "state": self.condition()}
        for kind, running in (("initContainers", self.inits), ("containers", self.containers)):
            for body, container in zip(properties.get(kind) or [], running, strict=False):
                body["properties"]["instanceView"] = container.view()

    def _open(self, properties: Body) -> None:
        """Let the group's public ports be reached by its names."""
        ports = [int(each["port"]) for each in (properties.get("ipAddress") or {}).get("ports") or []]
        for name in self._names:
            self._twin.networks[name] = {port: (self.address, local_port(port)) for port in ports}

    def _allow_identities(self, made: Body) -> None:
        identity: Body = made.get("identity") or {}
        allowed: list[Principal] = []
        if "SystemAssigned" in identity.get("type", ""):
            allowed.append(self._twin.directory.of_resource(made["id"]))
        allowed += [self._twin.directory.of_resource(each) for each in identity.get("userAssignedIdentities", {})]
        self._twin.identities[self._header] = allowed

    def _mounts(self, properties: Body) -> dict[str, Path]:
        """Make each volume a folder; secret volumes hold their files, readable by their owner alone."""
        folders: dict[str, Path] = {}
        for volume in properties.get("volumes") or []:
            share = volume.get("azureFile")
            folder = (
                self._twin.state / "shares" / share["storageAccountName"] / share["shareName"]
                if share
                else self._folder / "volumes" / volume["name"]
            )
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, content in (volume.get("secret") or {}).items():
                file = folder / name
                file.touch(mode=0o600)
                file.write_bytes(base64.b64decode(content))
            folders[volume["name"]] = folder
        return folders

    def _make(self, body: Body, properties: Body, volumes: dict[str, Path], policy: str) -> Container:
        inner = body["properties"]
        image = images.find(inner["image"])
        if image is None:
            raise documented("image pull", image=inner["image"], group=self.rid.name)
        given = {
            each["name"]: str(each.get("secureValue") or each.get("value") or "")
            for each in inner.get("environmentVariables") or []
        }
        mounts = {each["mountPath"]: volumes[each["name"]] for each in inner.get("volumeMounts") or []}
        folder = self._folder / body["name"]
        plan = images.plan(image, inner.get("command") or [], given, mounts, self.address, folder)
        for place in plan.made:
            place.mkdir(parents=True, exist_ok=True)
        environment = self._base(properties) | plan.environment
        if self._twin.faults.take(["crash in start"], f"{self.rid.path}/{body['name']}"):
            plan = Plan(command=(sys.executable, "-c", CRASH), environment={}, folder=plan.folder)
        plan = Plan(command=plan.command, environment=environment, folder=plan.folder)
        probes: dict[str, Any] = {
            kind: inner[f"{kind}Probe"] for kind in ("liveness", "readiness") if inner.get(f"{kind}Probe")
        }
        log = self._twin.state / "logs" / f"{self.rid.name}-{body['name']}.log"
        log.parent.mkdir(exist_ok=True, mode=0o700)
        container = Container(body["name"], plan, policy, probes, self.address, log)
        container.note("Pulled", f'Successfully pulled image "{inner["image"]}"')
        return container

    def _base(self, properties: Body) -> dict[str, str]:
        """What every container finds in its environment: this machine's Python, Azure's network, its identity."""
        found = {name: os.environ[name] for name in INHERITED if name in os.environ}
        fqdn = (properties.get("ipAddress") or {}).get("fqdn")
        certificate = {"AZURE_TWIN_CERTIFICATE": str(self._twin.authority.certificate_file(fqdn))} if fqdn else {}
        return {
            **found,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            **self._twin.network(),
            **self._sign_in(),
            isolation.TWIN: str(self._twin.state),
            "AZURE_TWIN_ADDRESS": self.address,
            **certificate,
        }

    def _sign_in(self) -> dict[str, str]:
        """How a container asks for tokens: on Container Instances at the instance metadata service.

        It is at 169.254.169.254 there, needs no variable, and this machine gives no container that address; where the
        variable names another place, Azure's libraries ask that.
        """
        if self.rid.provider.lower() == "microsoft.containerinstance":
            return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"{self._twin.url}/imds/{self._header}"}
        return {"IDENTITY_ENDPOINT": f"{self._twin.url}/identity/token", "IDENTITY_HEADER": self._header}


CRASH = "import sys; sys.exit('the container crashed as it started')"
