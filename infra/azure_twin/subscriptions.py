"""What Resource Manager answers that is no resource: subscriptions, resource groups, lists of resources."""

import re
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.azure_twin.access import CALLER
from infra.azure_twin.actions import SUBSCRIPTIONS
from infra.azure_twin.resource_types import Body

if TYPE_CHECKING:
    from infra.azure_twin.arm import Arm


def answer(arm: "Arm", path: str, request: Request) -> Response | None:
    """The answer to such a path; nothing when it is another's."""
    match path.lower().strip("/").split("/"):
        case ["subscriptions"]:
            return JSONResponse({"value": [_subscription(arm)]})
        case ["subscriptions", _]:
            return JSONResponse(_subscription(arm))
        case ["subscriptions", _, "resourcegroups"]:
            groups = [each for each in arm.resources.values() if each["type"] == "Microsoft.Resources/resourceGroups"]
            caller, read = CALLER.get().object, f"{SUBSCRIPTIONS}/resourceGroups/read"
            readable = [each for each in groups if arm.access.allows(caller, read, each["id"])]
            return JSONResponse({"value": _filtered(readable, request)})
        case ["subscriptions", _, "resources"] | ["subscriptions", _, "resourcegroups", _, "resources"]:
            inside = arm.under(path.lower().rpartition("/")[0])
            # Nested resources, deployments and role assignments are not listed by Azure either.
            listed = [each for each in inside if _is_listed(each)]
            shown = [{k: v for k, v in each.items() if k != "properties"} for each in listed]
            return JSONResponse({"value": _filtered(shown, request)})
        case ["subscriptions", _, "providers", name, *rest] if not rest or rest == ["register"]:
            return JSONResponse({"id": path, "namespace": name, "registrationState": "Registered"})
    return None


def _subscription(arm: "Arm") -> Body:
    return {
        "id": f"/subscriptions/{arm.subscription}",
        "subscriptionId": arm.subscription,
        "tenantId": arm.tokens.tenant,
        "displayName": "Azure twin",
        "state": "Enabled",
    }


def _is_listed(resource: Body) -> bool:
    kind = resource["type"].lower()
    return kind.count("/") == 1 and not kind.startswith(("microsoft.resources/", "microsoft.authorization/"))


def _filtered(found: list[Body], request: Request) -> list[Body]:
    """Apply the two filters that are used: by a tag, and by a type."""
    text = request.query_params.get("$filter", "")
    tag = re.search(r"tagName eq '([^']+)'(?: and tagValue eq '([^']*)')?", text)
    kind = re.search(r"resourceType eq '([^']+)'", text)
    return [
        each
        for each in found
        if (not kind or each["type"].lower() == kind[1].lower())
        and (not tag or (tag[1] in each.get("tags", {}) and tag[2] in (None, each["tags"][tag[1]])))
    ]
