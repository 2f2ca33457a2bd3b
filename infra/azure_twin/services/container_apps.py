"""Container Apps: environments with a domain, and apps whose one replica is processes of this machine.

An app's secrets are read from the vault by the identity that each names, its images pulled by that of its registry. An
external ingress is reached at ``<app>.<domain>`` by HTTPS, which ends here as it does at Azure's edge. What changes
nothing of the template starts nothing again. There are no revisions side by side, scale rules, volumes and probes.
"""

import asyncio
import copy
import hashlib

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin import actions, images, tls_relay
from infra.azure_twin.arm import Arm
from infra.azure_twin.containers import local_port
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.groups import Group
from infra.azure_twin.resource_ids import ResourceId, parse
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin

ENVIRONMENTS = "Microsoft.App/managedEnvironments"
APPS = "Microsoft.App/containerApps"
VERSION = "2025-01-01"
HTTPS = 443


class Environments(ResourceType):
    """Where apps run; Azure gives each a domain."""

    versions = (VERSION,)

    async def put(self, rid: ResourceId, body: Body) -> Response:
        word = hashlib.sha256(rid.path.lower().encode()).hexdigest()[:8]
        domain = f"twin-{word}.{body.get('location', self.arm.location)}.azurecontainerapps.io"
        return await super().put(rid, body | {"properties": body.get("properties", {}) | {"defaultDomain": domain}})


class Running:
    """What runs of an app: its containers, and the ingress before them."""

    def __init__(self, twin: Twin, rid: ResourceId) -> None:
        self.group = Group(twin, rid)
        self._twin = twin
        self._name = ""
        self._ingress: asyncio.Server | None = None

    async def open(self, ingress: Body) -> None:
        """Let the app be reached."""
        address, self._name = self.group.address, ingress["fqdn"]
        port, target = local_port(HTTPS), local_port(int(ingress["targetPort"]))
        self._ingress = await tls_relay.start(address, port, target, self._twin.authority.context(self._name))
        # An internal ingress is reached in the environment alone, where nothing of the twin's clients is.
        if ingress.get("external"):
            self._twin.networks[self._name] = {HTTPS: (address, port)}

    async def stop(self) -> None:
        """End it."""
        self._twin.networks.pop(self._name, None)
        if self._ingress:
            self._ingress.close()
            self._ingress = None
        await self.group.stop()


class ContainerApps(ResourceType):
    """Puts, reads and deletes apps."""

    versions = (VERSION,)

    def __init__(self, arm: Arm, full: str, twin: Twin) -> None:
        super().__init__(arm, full)
        self._twin = twin
        self.running: dict[str, Running] = {}

    async def put(self, rid: ResourceId, body: Body) -> Response:
        self.arm.need_group(rid)
        body = copy.deepcopy(body)
        properties = body["properties"]
        environment = self.arm.read(parse(properties["environmentId"]))
        for identity in (body.get("identity") or {}).get("userAssignedIdentities") or {}:
            self.arm.access.require_linked(actions.writes(rid, APPS), actions.assigns(identity))
        group = self._as_group(rid, body)
        known = self.arm.resources.get(rid.path.lower())
        if ingress := properties["configuration"].get("ingress"):
            inner = "" if ingress.get("external") else "internal."
            ingress["fqdn"] = f"{rid.name}.{inner}{environment['properties']['defaultDomain']}"
        # Only what changes the template makes a revision: a secret that has another value by now is not read again.
        same = known is not None and rid.path.lower() in self.running and _told(known) == _told(body)
        made = self.arm.keep(rid, APPS, body | {"properties": properties | {"provisioningState": "InProgress"}})
        operation = self.arm.begin(rid, self._run(rid, made, None if same else group))
        response = JSONResponse(self.view(made), 200 if known else 201)
        response.headers.update(self.arm.headers(rid, operation, VERSION))
        return response

    async def remove(self, rid: ResourceId) -> None:
        if running := self.running.pop(rid.path.lower(), None):
            await running.stop()
            running.group.forget()
        await super().remove(rid)

    async def act(self, rid: ResourceId, action: str, body: Body, request: Request) -> Response:
        if action.lower() != "listsecrets":
            return await super().act(rid, action, body, request)
        made = self.arm.read(rid)
        return JSONResponse({"value": made["properties"]["configuration"].get("secrets") or []})

    def view(self, resource: Body) -> Body:
        """Without the values of secrets."""
        shown = copy.deepcopy(resource)
        for each in shown["properties"]["configuration"].get("secrets") or []:
            each.pop("value", None)
        return shown

    def _as_group(self, rid: ResourceId, body: Body) -> Body:
        """The app as a container group, with the values of its secrets.

        Raises:
            AzureError: a secret cannot be read, or an image cannot be pulled.
        """
        properties = body["properties"]
        configuration = properties["configuration"]
        secrets = {each["name"]: self._value(each) for each in configuration.get("secrets") or []}
        registries = configuration.get("registries") or []
        identities = [each["identity"] for each in registries]
        pulled = {"imageRegistryCredentials": registries}
        containers = []
        for each in properties["template"]["containers"]:
            image = images.find(each["image"])
            if image is None or not self._twin.may_pull(each["image"], pulled, identities):
                raise documented("app image", container=each["name"], image=each["image"])
            # As in Kubernetes: a command stands for the entry point and takes the image's arguments away.
            command = each.get("command") or []
            arguments = each.get("args") or ([] if command else image.arguments)
            variables = [
                {"name": told["name"], "secureValue": secrets[told["secretRef"]]} if "secretRef" in told else told
                for told in each.get("env") or []
            ]
            inner = {"image": each["image"], "environmentVariables": variables}
            words = [*(command or image.entrypoint), *arguments]
            containers.append({"name": each["name"], "properties": inner | {"command": words}})
        made: Body = {"containers": containers, "restartPolicy": "Always"}
        return {"id": rid.path, "identity": body.get("identity"), "properties": made}

    def _value(self, secret: Body) -> str:
        if not (url := secret.get("keyVaultUrl")):
            return str(secret.get("value", ""))
        try:
            return self._twin.read_secret(url, self._twin.directory.of_resource(secret["identity"]))
        except AzureError:
            raise documented("app secret", secret=secret["name"], identity=secret["identity"]) from None

    async def _run(self, rid: ResourceId, made: Body, body: Body | None) -> None:
        """Start it; without a body what runs goes on."""
        if body is None:
            made["properties"]["provisioningState"] = "Succeeded"
            return
        if before := self.running.pop(rid.path.lower(), None):
            await before.stop()
        running = Running(self._twin, rid)
        try:
            await running.group.start(body)
            if ingress := made["properties"]["configuration"].get("ingress"):
                await running.open(ingress)
        except Exception as error:  # Whatever it is: who follows the operation would wait for ever.
            await running.stop()
            made["properties"]["provisioningState"] = "Failed"
            if isinstance(error, AzureError):
                raise
            raise AzureError(500, "ContainerAppOperationError", f"Failed to provision revision: {error}") from error
        self.running[rid.path.lower()] = running
        made["properties"]["provisioningState"] = "Succeeded"


def _told(body: Body) -> Body:
    properties = {name: told for name, told in body["properties"].items() if name != "provisioningState"}
    return {"identity": body.get("identity"), "properties": properties}


def install(twin: Twin) -> None:
    """Add environments and apps."""
    apps = ContainerApps(twin.arm, APPS, twin)
    twin.arm.register(Environments(twin.arm, ENVIRONMENTS))
    twin.arm.register(apps)

    async def stop() -> None:
        await asyncio.gather(*(each.stop() for each in apps.running.values()))

    twin.stoppers.append(stop)
