"""Deployments of Resource Manager templates into a resource group."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from infra.azure_twin.access import CALLER
from infra.azure_twin.actions import writes
from infra.azure_twin.arm import HOST, Arm
from infra.azure_twin.errors import AzureError, documented
from infra.azure_twin.expressions import evaluate, unique_string
from infra.azure_twin.operations import Operation
from infra.azure_twin.resource_ids import ResourceId, parse
from infra.azure_twin.resource_types import Body, ResourceType
from infra.azure_twin.twin import Twin


class Deployments(ResourceType):
    """Puts the resources of a template one after the other; the first that fails ends it."""

    async def put(self, rid: ResourceId, body: Body) -> Response:
        group = self.arm.need_group(rid)
        template, given = body["properties"]["template"], body["properties"].get("parameters", {})
        resources = _resources(template, given, group)
        self._require(rid, resources)
        shown = {name: each for name, each in given.items() if not _is_secure(template, name)}
        made = self.arm.keep(rid, self.full, {"properties": {"provisioningState": "Accepted", "parameters": shown}})
        made["properties"] |= {"mode": body["properties"].get("mode", "Incremental"), "outputResources": []}
        made.pop("location")
        self._operations_of(rid).clear()
        operation = self.arm.begin(rid, self._deploy(rid, made, resources))
        url = f"{HOST}{rid.path}/operationStatuses/{operation.id}?api-version=2022-09-01"
        return JSONResponse(made, 201, {"Azure-AsyncOperation": url, "Retry-After": str(self.arm.retry_after)})

    def _require(self, rid: ResourceId, resources: list[Body]) -> None:
        """Let only a caller deploy who may make each of the resources.

        Raises:
            AzureError: InvalidTemplateDeployment, by the first one that is missing.
        """
        caller = CALLER.get()
        for inner in (_inner(rid, each) for each in resources):
            wanted = writes(inner, self.arm.spelling(inner))
            if action := self.arm.access.missing(wanted):
                raise documented(
                    "template forbidden", name=inner.name, type=self.arm.spelling(inner), client=caller.client,
                    object=caller.object, action=action, scope=wanted.scope,
                )  # fmt: skip

    async def _deploy(self, rid: ResourceId, made: Body, resources: list[Body]) -> None:
        properties = made["properties"]
        properties["provisioningState"] = "Running"
        for resource in resources:
            inner = _inner(rid, resource)
            try:
                await self._put(inner, resource)
            except AzureError as error:
                properties["provisioningState"] = "Failed"
                failure = documented("deployment failed")
                failure.details = [error.body["error"] | {"target": inner.path}]
                properties["error"] = failure.body["error"]
                self._note(rid, inner, "Failed", error)
                raise failure from None
            self._note(rid, inner, "Succeeded", None)
            properties["outputResources"].append({"id": inner.path})
        properties["provisioningState"] = "Succeeded"

    async def _put(self, inner: ResourceId, resource: Body) -> None:
        kind = self.arm.type_of(inner)
        if kind.versions and resource["apiVersion"] not in kind.versions:
            version = resource["apiVersion"]
            raise documented("api version", location=self.arm.location, version=version, type=kind.full)
        body = {key: each for key, each in resource.items() if key not in ("type", "name", "apiVersion", "dependsOn")}
        response = await kind.put(inner, body)
        if found := re.search(r"/operations/([^?]+)", response.headers.get("Azure-AsyncOperation", "")):
            operation: Operation = self.arm.operations[found[1]]
            await operation.task
            if operation.error:
                raise operation.error

    def _note(self, rid: ResourceId, inner: ResourceId, state: str, error: AzureError | None) -> None:
        properties: Body = {
            "provisioningState": state,
            "targetResource": {"id": inner.path, "resourceType": inner.type, "resourceName": inner.name},
        }
        if error:
            properties |= {"statusCode": "Conflict", "statusMessage": error.body}
        self._operations_of(rid).append({"properties": properties})

    def _operations_of(self, rid: ResourceId) -> list[Body]:
        histories: dict[str, list[Body]] = self.__dict__.setdefault("_histories", {})
        return histories.setdefault(rid.path.lower(), [])

    def operations(self, rid: ResourceId) -> list[Body]:
        """What a deployment did, resource by resource."""
        return self._operations_of(rid)


class DeploymentStatuses(ResourceType):
    """What Azure-AsyncOperation of a deployment names."""

    async def get(self, rid: ResourceId) -> Response:
        operation = self.arm.operations.get(rid.name)
        if operation is None:
            raise AzureError(404, "DeploymentOperationNotFound", f"The operation '{rid.name}' could not be found.")
        waits = {} if operation.ended else {"Retry-After": str(self.arm.retry_after)}
        return JSONResponse(operation.view(), headers=waits)


class DeploymentOperations(ResourceType):
    """The list of a deployment's operations."""

    def __init__(self, arm: Arm, full: str, deployments: Deployments) -> None:
        super().__init__(arm, full)
        self._deployments = deployments

    async def find(self, rid: ResourceId, query: Mapping[str, str]) -> Response:
        return JSONResponse({"value": self._deployments.operations(parse(rid.path))})


def _resources(template: Body, given: Body, group: Body) -> list[Body]:
    """The template's resources with every expression replaced.

    Raises:
        AzureError: a parameter has no value, or an expression is not known.
    """
    declared = template.get("parameters", {})
    if unknown := set(given) - set(declared):
        raise documented("template", reason=f"The template parameters {sorted(unknown)} are not valid")
    variables = template.get("variables", {})

    def parameter(name: str) -> Any:
        if name in given:
            return given[name]["value"]
        if "defaultValue" not in declared.get(name, {}):
            raise documented("template", reason=f"The value for the template parameter '{name}' is not provided")
        return evaluate(declared[name]["defaultValue"], functions)

    functions: dict[str, Callable[..., Any]] = {
        "parameters": parameter,
        "variables": lambda name: evaluate(variables[name], functions),
        "resourceGroup": lambda: group,
        "subscription": lambda: {"subscriptionId": parse(group["id"]).subscription},
        "uniqueString": unique_string,
        "concat": lambda *parts: "".join(parts),
        "toLower": str.lower,
        "length": len,
        "sub": lambda left, right: left - right,
        "substring": lambda text, start, length: text[start : start + length],
    }
    for name in declared:
        parameter(name)
    resources: list[Body] = evaluate(template.get("resources", []), functions)
    return resources


def _inner(rid: ResourceId, resource: Body) -> ResourceId:
    """A template's resource in the resource group of a deployment."""
    return parse(f"{rid.path.rpartition('/providers/')[0]}/providers/{_path(resource)}")


def _path(resource: Body) -> str:
    """``Provider/type/name[/type/name]`` of a template's resource."""
    provider, *types = resource["type"].split("/")
    names = resource["name"].split("/")
    return "/".join([provider, *(part for pair in zip(types, names, strict=True) for part in pair)])


def _is_secure(template: Body, name: str) -> bool:
    return str(template.get("parameters", {}).get(name, {}).get("type", "")).lower().startswith("secure")


def install(twin: Twin) -> None:
    """Add deployments, their status and their operations."""
    deployments = Deployments(twin.arm, "Microsoft.Resources/deployments")
    twin.arm.register(deployments)
    twin.arm.register(DeploymentStatuses(twin.arm, f"{deployments.full}/operationStatuses"))
    twin.arm.register(DeploymentOperations(twin.arm, f"{deployments.full}/operations", deployments))
