"""A model with three versions and a release under way, whose flow run, services and Prefect are the test's."""

import dataclasses
from typing import Any

import msgspec
import pytest

import tasks.evidence
import tasks.mend
import tasks.release
import tasks.rollback
import tasks.rollout
from mlops.adapters.ledger import version_subject
from mlops.adapters.registry import CHAMPION, Version
from mlops.adapters.serving import Found, read_state, write_state
from mlops.core.serving import Served
from mlops.core.smoke import Check
from mlops.spec import Canary, Release, Shadow
from tasks.context import ModelContext, open_model
from tasks.release import name_champion, record_release
from tasks.runs import Run
from tests.fakes.registry import FakeRegistry
from tests.fakes.services import FakeServices

FIRST, OURS, OTHER = "run-first", "run-ours", "run-other"
QUICK = Release(
    shadow=Shadow(seconds=0.05),
    canary=Canary(steps=(0.1,), min_seconds=0.0, min_requests=20, max_seconds=0.1),
)
MODULES = (tasks.evidence, tasks.mend, tasks.release, tasks.rollback, tasks.rollout)


class World:
    """A model with versions 1 (released), 2 and 3, whose flow run, services and Prefect are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = open_model("iris")
        self.context = dataclasses.replace(opened, spec=msgspec.structs.replace(opened.spec, release=QUICK))
        self.services = FakeServices(self.context.store)
        self.run = OURS
        self.alive: set[str] = set()
        self.tables: list[dict[str, Any]] = []
        self.checks = [Check("golden record 1", True, "answered", 0.01)]
        registry = FakeRegistry()
        vars(self.context).update(registry=registry, services=self.services)
        self.versions = [registry.register("iris", "run", f"digest-{n}", "snapshot", {}) for n in (1, 2, 3)]
        for version in self.versions:
            self.context.ledger.record("gate", version.version, "accepted", numbers={"digest": version.digest})
        for module in MODULES:
            for name, value in {
                "open_model": self.open,
                "current_flow_run": lambda: self.run,
                "find_writer": lambda _store, _model, run: self.describe_run(run),
                "ask_service": lambda *_: self.checks,
                "create_table_artifact": lambda **told: self.tables.append(told),
            }.items():
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(tasks.rollout, "POLL_SECONDS", 0.02)
        self.release_as(FIRST, self.versions[0])

    def open(self, model: str) -> ModelContext:
        assert model == "iris"
        return self.context

    def describe_run(self, run: str) -> Run:
        alive = run in self.alive
        return Run(run, "release iris", "Running" if alive else "Crashed", alive)

    def policy(self, **changed: Any) -> None:
        release = msgspec.structs.replace(QUICK, **changed)
        spec = msgspec.structs.replace(self.context.spec, release=release)
        opened = dict(vars(self.context))
        self.context = dataclasses.replace(self.context, spec=spec)
        vars(self.context).update({name: value for name, value in opened.items() if name not in ("spec", "settings")})

    def release_as(self, run: str, version: Version) -> Found:
        """What a whole release by a run leaves."""
        kept, self.run = self.run, run
        written = self.write(version, run)
        record_release.fn("iris", version, "released", ["approved"], {})
        name_champion.fn("iris")
        self.run = kept
        return written

    def write(self, version: Version, run: str, environment: str = "prod", **roles: Any) -> Found:
        before = read_state(self.context.store, "iris", environment)
        return write_state(self.context.store, "iris", environment, served(version), run, before, **roles)

    @property
    def prod(self) -> Found:
        found = read_state(self.context.store, "iris", "prod")
        assert found
        return found

    def count(self, canary: dict[int, int], champion: dict[int, int], **shadow: int) -> None:
        """Let the service count so many answers by status from the first look to the second."""
        looks = iter(range(10**9))

        def text() -> str:
            if next(looks) == 0:
                return ""
            lines = []
            for role, version, counts in (("canary", "2", canary), ("champion", "1", champion)):
                for status, number in counts.items():
                    labels = f'model="iris",environment="prod",role="{role}",version="{version}",status="{status}"'
                    lines.append(f"mlops_scoring_answers_total{{{labels}}} {number}")
            for result, number in shadow.items():
                lines.append(f'mlops_scoring_shadow_total{{model="iris",version="2",result="{result}"}} {number}')
            return "\n".join([*lines, "mlops_scoring_generation 1"])

        self.services.metrics = text

    def agrees_on(self, version: Version) -> None:
        state = self.prod.state
        assert (state.champion, state.shadow, state.canary) == (served(version), None, None)
        assert self.context.registry.alias("iris", CHAMPION) == version

    def told(self, version: Version, run: str, kind: str = "release") -> str:
        entry = self.context.ledger.find(kind, version_subject(version.version, run))
        return f"{entry.decision}: {'; '.join(entry.reasons)}" if entry else ""


def served(version: Version) -> Served:
    return Served(version.digest, version.version)
