"""Microsoft's published schemas of container groups, which lie beside the checkout and not in it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from tests.infra.twin import ROOT

COMMON = "https://schema.management.azure.com/schemas/common/definitions.json"
# The one definition that the schemas take from a file that is not published beside them.
EXPRESSION = {"definitions": {"expression": {"type": "string", "pattern": r"^\[([^\[].*)?\]$"}}}


def schema_file(version: str) -> Path:
    return ROOT.parent / "shared" / "azure-schemas" / f"Microsoft.ContainerInstance-{version}.json"


def check(body: dict[str, Any], version: str) -> None:
    """Raise a ValidationError naming what the published schema has against a container group."""
    file = schema_file(version)
    if not file.exists():
        pytest.skip(f"Microsoft's schema is not at {file}")
    schema = json.loads(file.read_bytes())
    for kind in ("ResourceRequests", "ResourceLimits"):
        # The generator of these schemas makes every number an integer; the REST reference says number, and ACI's own
        # default is 1.5 GB.
        for name in ("cpu", "memoryInGB"):
            schema["definitions"][kind]["properties"][name]["oneOf"][0]["type"] = "number"
    common = Resource.from_contents(EXPRESSION, default_specification=DRAFT4)
    whole = Resource.from_contents(schema, default_specification=DRAFT4)
    registry: Registry[Any] = Registry().with_resources([(COMMON, common), (schema["id"].rstrip("#"), whole)])
    wanted = {"$ref": f"{schema['id'].rstrip('#')}#/resourceDefinitions/containerGroups"}
    resource = {**body, "type": "Microsoft.ContainerInstance/containerGroups", "apiVersion": version}
    jsonschema.Draft4Validator(wanted, registry=registry).validate(resource)
