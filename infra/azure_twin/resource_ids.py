"""Ids of Resource Manager's resources, read from paths and written as such."""

import re

import msgspec


class ResourceId(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed path of Resource Manager; names keep their case, types are lower case."""

    subscription: str = ""
    group: str = ""
    provider: str = ""
    types: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """One fewer than types in a collection's path."""
    scope: str = ""
    """What an extension resource (a role assignment) is attached to."""

    @property
    def type(self) -> str:
        """``microsoft.x/y/z``."""
        return "/".join((self.provider, *self.types)).lower()

    @property
    def name(self) -> str:
        """The last name."""
        return self.names[-1] if self.names else self.group

    @property
    def path(self) -> str:
        """The id as a path."""
        pairs = "".join(f"/{kind}/{name}" for kind, name in zip(self.types, self.names, strict=False))
        provider = f"/providers/{self.provider}{pairs}" if self.provider else ""
        if self.scope:
            return self.scope + provider
        group = f"/resourceGroups/{self.group}" if self.group else ""
        return f"/subscriptions/{self.subscription}{group}{provider}"

    @property
    def is_collection(self) -> bool:
        """Whether it names a type and no resource."""
        return len(self.names) < len(self.types)


def parse(path: str) -> ResourceId:
    """Read a path; the last ``/providers/`` is the resource's, what stands before it its scope."""
    scope, found, rest = path.rpartition("/providers/")
    if not found:
        scope, rest = path, ""
    placed = re.fullmatch(r"/subscriptions/([^/]+)(?:/resourcegroups(?:/([^/]+))?)?/?", scope, re.IGNORECASE)
    parts = [part for part in rest.split("/") if part]
    provider, pairs = (parts[0], parts[1:]) if parts else ("", [])
    subscription, group = (placed[1], placed[2] or "") if placed else ("", "")
    outer = parse(scope) if found and not placed and scope else None
    return ResourceId(
        subscription=outer.subscription if outer else subscription,
        group=outer.group if outer else group,
        provider=provider,
        types=tuple(pairs[0::2]),
        names=tuple(pairs[1::2]),
        scope=scope if outer else "",
    )
