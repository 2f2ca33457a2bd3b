"""Requests to Resource Manager as the actions that roles name, and the scopes that they are asked on."""

from collections.abc import Callable

import msgspec

from infra.azure_twin.access import Asked
from infra.azure_twin.resource_ids import ResourceId, parse

VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
SUBSCRIPTIONS = "Microsoft.Resources/subscriptions"
Spelling = Callable[[ResourceId], str]
"""How Azure spells the type of a resource."""


def asked(method: str, path: str, spelling: Spelling) -> Asked:
    """What a request asks for; nothing where Azure asks for no right but shows only what one may read."""
    parts = path.strip("/").split("/")
    match [part.lower() for part in parts]:
        case ["subscriptions"] | ["subscriptions", _, "resourcegroups"]:
            return Asked((), "")
        case ["subscriptions", _]:
            return Asked((f"{SUBSCRIPTIONS}/{VERBS[method]}",), path)
        case ["subscriptions", _, "resources"]:
            return Asked((f"{SUBSCRIPTIONS}/resources/read",), path.rpartition("/")[0])
        case ["subscriptions", _, "resourcegroups", _]:
            return Asked((f"{SUBSCRIPTIONS}/resourceGroups/{VERBS[method]}",), path)
        case ["subscriptions", _, "resourcegroups", _, "resources"]:
            return Asked((f"{SUBSCRIPTIONS}/resourceGroups/resources/read",), path.rpartition("/")[0])
        case ["subscriptions", _, "providers", _]:
            return Asked((f"{SUBSCRIPTIONS}/providers/read",), "/".join(["", *parts[:2]]))
        case ["subscriptions", _, "providers", _, "register"]:
            return Asked((f"{parts[3]}/register/action",), "/".join(["", *parts[:2]]))
    return _of_resource(method, parse(path), spelling)


def split(method: str, rid: ResourceId) -> tuple[ResourceId, str]:
    """A POST's resource and the name of what is to be done with it."""
    if method == "POST" and rid.is_collection:
        return msgspec.structs.replace(rid, types=rid.types[:-1]), rid.types[-1]
    return rid, ""


def _of_resource(method: str, rid: ResourceId, spelling: Spelling) -> Asked:
    inner, action = split(method, rid)
    if not rid.provider:
        return Asked((), "")
    return Asked((f"{spelling(inner)}/{f'{action}/action' if action else VERBS.get(method, 'action')}",), inner.path)


def writes(rid: ResourceId, full: str) -> Asked:
    """What making a resource asks for."""
    return Asked((f"{full}/write",), rid.path)


def assigns(identity: str) -> Asked:
    """What letting a resource run under a user-assigned identity asks for."""
    return Asked(("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",), identity)
