"""The published types of Azure's resources, as trees: what a property may be called and hold.

They are read from Microsoft's own packages for the API versions that they implement. Those have two generations of
models, which are told apart by what a class has.
"""

import datetime
import enum
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any

ROOT = Path(__file__).parents[3]
MODELS = ROOT / ".tools/azure-models"
RESOURCES: dict[str, tuple[str, str]] = {
    "Microsoft.App/containerApps@2025-01-01": ("appcontainers.models", "ContainerApp"),
    "Microsoft.App/managedEnvironments@2025-01-01": ("appcontainers.models", "ManagedEnvironment"),
    "Microsoft.Authorization/roleAssignments@2022-04-01": (
        "authorization.v2022_04_01.models", "RoleAssignmentCreateParameters",
    ),
    "Microsoft.Consumption/budgets@2024-08-01": ("consumption.models", "Budget"),
    "Microsoft.ContainerRegistry/registries@2025-04-01": ("containerregistry.v2025_04_01.models", "Registry"),
    "Microsoft.DBforPostgreSQL/flexibleServers@2024-08-01": ("postgresqlflexibleservers.models", "Server"),
    "Microsoft.DBforPostgreSQL/flexibleServers/configurations@2024-08-01": (
        "postgresqlflexibleservers.models", "Configuration",
    ),
    "Microsoft.DBforPostgreSQL/flexibleServers/databases@2024-08-01": ("postgresqlflexibleservers.models", "Database"),
    "Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2024-08-01": (
        "postgresqlflexibleservers.models", "FirewallRule",
    ),
    "Microsoft.Insights/components@2020-02-02": (
        "applicationinsights.v2020_02_02.models", "ApplicationInsightsComponent",
    ),
    "Microsoft.KeyVault/vaults@2024-11-01": ("keyvault.models", "VaultCreateOrUpdateParameters"),
    "Microsoft.KeyVault/vaults/secrets@2024-11-01": ("keyvault.models", "SecretCreateOrUpdateParameters"),
    "Microsoft.MachineLearningServices/workspaces@2023-04-01": ("machinelearningservices.models", "Workspace"),
    "Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30": ("msi.v2024_11_30.models", "Identity"),
    "Microsoft.OperationalInsights/workspaces@2025-07-01": ("loganalytics.models", "Workspace"),
    "Microsoft.Storage/storageAccounts@2025-06-01": ("storage.models", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices@2025-06-01": ("storage.models", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01": ("storage.models", "BlobContainer"),
    "Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01": ("storage.models", "ManagementPolicy"),
}  # fmt: skip
"""Module and class of what is PUT for a resource type."""


Kind = dict[str, Any]
"""What a property may hold. ``kind``: ``object`` (with ``fields``), ``list`` or ``map`` (of ``item``), ``string``
(perhaps with its ``values``), ``int``, ``float``, ``bool`` or ``any``. A field is a kind that may be ``required`` and
``readOnly``."""
ANY: Kind = {"kind": "any"}
SCALARS = {"str": "string", "int": "int", "long": "int", "float": "float", "bool": "bool"}


def published() -> dict[str, Kind]:
    """The trees of all resource types, read in a process of its own: other versions of the packages may be loaded here.

    Each has its API versions under ``versions``.
    """
    command = [sys.executable, "-m", "tests.infra.bicep.types"]
    environ = os.environ | {"PYTHONPATH": str(MODELS)}
    done = subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True, text=True)
    told: dict[str, Kind] = json.loads(done.stdout)
    return told


def main() -> None:
    """Print the trees as JSON."""
    trees = {}
    for resource, (path, name) in RESOURCES.items():
        module = importlib.import_module(f"azure.mgmt.{path}")
        assert str(MODELS) in str(module.__file__), f"{module.__file__} is another version: run `make tools`"
        trees[resource] = _of_class(getattr(module, name), module, ()) | {"versions": api_versions(resource)}
    sys.stdout.write(json.dumps(trees))


def api_versions(resource: str) -> list[str]:
    """The API versions that the package of a resource type implements."""
    module = RESOURCES[resource][0]
    if found := re.search(r"\.v(\d{4}_\d\d_\d\d(?:_preview)?)\.", f"{module}."):
        return [found[1].replace("_", "-")]
    text = (MODELS / "azure/mgmt" / module.partition(".")[0] / "_configuration.py").read_text("utf-8")
    return sorted(set(re.findall(r'"(20\d\d-\d\d-\d\d(?:-preview)?)"', text)))


def _of_class(found: type, module: ModuleType, outer: tuple[type, ...]) -> Kind:
    if found in outer:
        return ANY
    read = _older if getattr(found, "_attribute_map", None) else _newer
    return {"kind": "object", "fields": read(found, module, (*outer, found))}


def _older(found: Any, module: ModuleType, outer: tuple[type, ...]) -> dict[str, Kind]:
    """Models that say by strings what they hold, with paths of names: ``properties.sku``."""
    fields: dict[str, Kind] = {}
    rules = getattr(found, "_validation", {})
    for attribute, told in found._attribute_map.items():
        *path, last = (name.replace("\\", "") for name in re.split(r"(?<!\\)\.", told["key"]))
        place = fields
        for name in path:
            place = place.setdefault(name, {"kind": "object", "fields": {}})["fields"]
        rule = rules.get(attribute, {})
        marks = {"required": bool(rule.get("required")), "readOnly": bool(rule.get("readonly"))}
        place[last] = _of_string(told["type"], module, outer) | marks
    return fields


def _of_string(text: str, module: ModuleType, outer: tuple[type, ...]) -> Kind:
    if text[0] in "[{":
        return {"kind": "list" if text[0] == "[" else "map", "item": _of_string(text[1:-1], module, outer)}
    if text in SCALARS:
        return {"kind": SCALARS[text]}
    found = getattr(module, text, None)
    return _of_class(found, module, outer) if isinstance(found, type) and hasattr(found, "_attribute_map") else ANY


def _newer(found: Any, module: ModuleType, outer: tuple[type, ...]) -> dict[str, Kind]:
    """Models that say by annotations what they hold."""
    found()  # Which makes it know its fields.
    names: dict[str, Any] = {"_models": module, "datetime": datetime, "JSON": dict[str, Any]}
    for each in pkgutil.iter_modules(module.__path__):
        names |= vars(importlib.import_module(f"{module.__name__}.{each.name}"))
    hints = typing.get_type_hints(found, localns=names)
    fields = {}
    for attribute, field in found._attr_to_rest_field.items():
        hint, read_only = hints[attribute], field._visibility == ["read"]
        required = type(None) not in typing.get_args(hint) and not read_only
        fields[field._rest_name] = _of_hint(hint, module, outer) | {"required": required, "readOnly": read_only}
    return fields


def _of_hint(hint: Any, module: ModuleType, outer: tuple[type, ...]) -> Kind:
    origin, inner = typing.get_origin(hint), [each for each in typing.get_args(hint) if each is not type(None)]
    if origin is list:
        return {"kind": "list", "item": _of_hint(inner[0], module, outer)}
    if origin is dict:
        return {"kind": "map", "item": _of_hint(inner[1], module, outer)}
    if origin in (typing.Union, UnionType):
        if enums := [each for each in inner if isinstance(each, type) and issubclass(each, enum.Enum)]:
            return {"kind": "string", "values": [str(member.value) for each in enums for member in each]}
        return _of_hint(inner[0], module, outer) if len(inner) == 1 else ANY
    if isinstance(hint, type) and hint.__name__ in SCALARS:
        return {"kind": SCALARS[hint.__name__]}
    return _of_class(hint, module, outer) if hasattr(hint, "as_dict") else ANY


if __name__ == "__main__":
    main()
