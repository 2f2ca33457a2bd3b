"""The assignments of ``infra/bicep/modules/roles.bicep``, made in the rehearsal's subscription: these and no other.

Its lists are read, not repeated; a test holds what is read here against the file as Bicep's parser reads it.
"""

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from infra.azure_twin.rehearsal.processes import RehearsalError

if TYPE_CHECKING:
    from infra.azure_twin.rehearsal.landing_zone import Subscription

FILE = Path(__file__).parents[2] / "bicep" / "modules" / "roles.bicep"
ENTRY = re.compile(r"\{ who: '(\w+)', role: role\.(\w+)(?:, \w+: '?(?:identityNames\.)?(\w+)'?)? \}")
LISTS = ("onStore", "onRegistry", "onVault", "onDatabases", "onWorkspace", "onGroup", "onIdentities")


class Assignment(msgspec.Struct, frozen=True, order=True):
    """Who has which role on what; ``on`` is the list, ``name`` the container or identity where the list has several."""

    who: str
    role: str
    """Id of the role's definition."""
    on: str
    name: str = ""


def read(text: str) -> list[Assignment]:
    """The assignments of the file's text.

    Raises:
        RehearsalError: it has another list, or a line that is no assignment.
    """
    roles = dict(re.findall(r"^  (\w+): '([0-9a-f-]{36})'$", text, re.MULTILINE))
    found = []
    for on, body in re.findall(r"^var (on\w+) = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL):
        for line in body.splitlines():
            entry = ENTRY.fullmatch(line.strip())
            if on not in LISTS or entry is None:
                raise RehearsalError(f"{FILE}: no assignment in the list {on}: {line.strip()}")
            found.append(Assignment(entry[1], roles[entry[2]], on, entry[3] or ""))
    return found


def assign(azure: "Subscription", principals: Mapping[str, str], scopes: Mapping[str, str]) -> None:
    """Make each assignment; again changes nothing. ``scopes``: by list, with ``{}`` for the name where it has one."""
    for each in read(FILE.read_text("utf-8")):
        scope = scopes[each.on].format(each.name)
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"{scope}/{each.who}/{each.role}".lower())
        properties = {
            "principalId": principals[each.who],
            "principalType": "ServicePrincipal",
            "roleDefinitionId": f"{azure.root}/providers/Microsoft.Authorization/roleDefinitions/{each.role}",
        }
        path = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"
        azure.call("PUT", path, "2022-04-01", {"properties": properties})
