"""A registry in memory, with the behaviour of the real one."""

from typing import Any

import msgspec

from mlops.adapters.registry import RegistryError, Version


class FakeRegistry:
    """Runs, versions and aliases in dictionaries."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.versions: list[Version] = []
        self.aliases: dict[tuple[str, str], str] = {}

    def log_run(
        self, model: str, name: str, params: dict[str, Any], metrics: dict[str, float], tags: dict[str, str]
    ) -> str:
        self.runs.append({"model": model, "name": name, "params": params, "metrics": metrics, "tags": tags})
        return f"run-{len(self.runs)}"

    def register(self, model: str, run_id: str, digest: str, snapshot: str, files: dict[str, bytes]) -> Version:  # noqa: ARG002
        if known := self.find(model, digest):
            return known
        number = str(1 + sum(each.model == model for each in self.versions))
        created = Version(model=model, version=number, digest=digest, snapshot=snapshot, run_id=run_id)
        self.versions.append(created)
        return created

    def version(self, model: str, version: str) -> Version:
        for each in self.versions:
            if (each.model, each.version) == (model, version):
                return each
        raise RegistryError(f"version {version!r} of {model} is not in the registry")

    def latest(self, model: str) -> Version | None:
        return max((each for each in self.versions if each.model == model), key=lambda v: int(v.version), default=None)

    def find(self, model: str, digest: str) -> Version | None:
        return next((each for each in self.versions if (each.model, each.digest) == (model, digest)), None)

    def alias(self, model: str, alias: str) -> Version | None:
        number = self.aliases.get((model, alias))
        return msgspec.structs.replace(self.version(model, number)) if number else None

    def set_alias(self, model: str, alias: str, version: str | None) -> None:
        if version is None:
            self.aliases.pop((model, alias), None)
        else:
            self.aliases[model, alias] = self.version(model, version).version
