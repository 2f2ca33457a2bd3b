"""Azure role-based access control: who may do what where, by the assignments that exist.

A role is the data of ``builtin_roles.json``, taken from Microsoft's page; there are no custom roles, deny assignments,
conditions and groups of principals.
"""

import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from infra.azure_twin.errors import AzureError, documented

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
SECRETS_OFFICER = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"


class Role(msgspec.Struct, frozen=True, rename="camel"):
    """A built-in role; actions are of the control plane, data actions of the data plane."""

    name: str
    page: str
    """Of Microsoft's pages of built-in roles."""
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def allows(self, action: str, *, data: bool = False) -> bool:
        """Whether the role has an action and does not take it away again."""
        given, taken = (self.data_actions, self.not_data_actions) if data else (self.actions, self.not_actions)
        return any(matches(each, action) for each in given) and not any(matches(each, action) for each in taken)


class Published(msgspec.Struct, frozen=True):
    """The roles, and where and when they were read."""

    source: str
    read: str
    roles: dict[str, Role]


class Caller(msgspec.Struct, frozen=True):
    """Who a token was issued to."""

    client: str = ""
    object: str = ""
    issuer: str = ""

    @classmethod
    def of(cls, claims: dict[str, Any]) -> "Caller":
        """The caller of a token's claims."""
        return cls(claims.get("appid", ""), claims.get("oid", ""), claims.get("iss", ""))


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for: all of these actions on a scope."""

    actions: tuple[str, ...]
    scope: str
    data: bool = False


NOBODY = Caller()
CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""Of the request that is answered; what goes on in the background afterwards is still that caller's."""


class Access:
    """Decides by assignments, each a principal, a role and a scope; a scope holds for all that is in it."""

    def __init__(self, assignments: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self._assignments = assignments
        self.standing: list[dict[str, str]] = []
        """Assignments that are no resources: those of the principal that owns the subscription."""

    def grant(self, principal: str, role: str, scope: str) -> None:
        """Add a standing assignment."""
        self.standing.append({"principalId": principal, "roleDefinitionId": role, "scope": scope})

    def allows(self, principal: str, action: str, scope: str, *, data: bool = False) -> bool:
        """Whether a principal may do something on a scope."""
        return any(
            each["principalId"] == principal
            and is_within(scope, each["scope"])
            and role_of(each["roleDefinitionId"]).allows(action, data=data)
            for each in [*self.standing, *self._assignments()]
        )

    def missing(self, asked: Asked) -> str:
        """The first action that the caller may not do; empty when there is none."""
        principal = CALLER.get().object
        return next(
            (each for each in asked.actions if not self.allows(principal, each, asked.scope, data=asked.data)), ""
        )

    def require(self, asked: Asked) -> None:
        """Let only a caller pass who may do what is asked.

        Raises:
            AzureError: AuthorizationFailed, with the action that is missing.
        """
        if action := self.missing(asked):
            raise forbidden(action, asked.scope)

    def require_linked(self, asked: Asked, linked: Asked) -> None:
        """Let only a caller pass who may also use what a resource is linked with.

        Raises:
            AzureError: LinkedAuthorizationFailed.
        """
        if action := self.missing(linked):
            caller = CALLER.get()
            raise documented(
                "linked forbidden", client=caller.client, object=caller.object, action=asked.actions[0],
                scope=asked.scope, linked_action=action, linked=linked.scope,
            )  # fmt: skip


def forbidden(action: str, scope: str) -> AzureError:
    """Resource Manager's refusal of the caller."""
    caller = CALLER.get()
    return documented("forbidden", client=caller.client, object=caller.object, action=action, scope=scope)


def is_within(scope: str, outer: str) -> bool:
    """Whether a scope is another one or in it."""
    return f"{scope}/".lower().startswith(f"{outer.rstrip('/')}/".lower())


@cache
def matches(pattern: str, action: str) -> bool:
    """Whether an action is one of a pattern's; ``*`` stands for anything, in any number of parts.

    ``a/*/b`` is also ``a/b``: Microsoft's page on access to workspaces says that ``computes/*/write`` takes away the
    right to make computes, which is ``computes/write``, and Managed Identity Operator, whose action is
    ``userAssignedIdentities/*/assign/action``, is the role for ``userAssignedIdentities/assign/action``.
    """
    expression = re.escape(pattern).replace(r"/\*/", "/(?:.*/)?").replace(r"\*", ".*")
    return re.fullmatch(expression, action, re.IGNORECASE) is not None


@cache
def published() -> Published:
    """The built-in roles."""
    return msgspec.json.decode(Path(__file__).with_name("builtin_roles.json").read_bytes(), type=Published)


def role_of(definition: str) -> Role:
    """The role of a definition's id or path.

    Raises:
        AzureError: the twin does not have it.
    """
    name = definition.rpartition("/")[2].lower()
    found = published().roles.get(name)
    if found is None:
        raise documented("no role", role=name)
    return found
