"""What both models of the demo share: where they are, and how far a step has come."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from rich.console import Console

from deployments.demo import runs
from mlops.adapters.serving import Found, read_state
from mlops.core.serving import Environment
from tasks.context import ModelContext


@dataclass(frozen=True)
class Stage:
    """The demo's console and clock; ``began`` bounds what it looks for in Prefect's history."""

    console: Console = field(default_factory=lambda: Console(file=sys.stdout, highlight=False, soft_wrap=True))
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)
    checks: list[UUID] = field(default_factory=list)
    """Drift checks that were started; they end with a report that nobody waits for."""

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Show a step while it runs and, when done, its seconds and what it added to the list."""
        started, notes = time.monotonic(), list[str]()
        with self.console.status(title):
            yield notes
        shown = f" [dim]{'; '.join(notes)}[/]" if notes else ""
        seconds = time.monotonic() - started
        self.console.print(f"[dim]{time.monotonic() - self.clock:6.1f} s[/]  {title} [dim]({seconds:.1f} s)[/]{shown}")

    def say(self, text: str, plain: bool = False) -> None:
        """Print a line; a plain one as it is, whatever brackets it has."""
        self.console.print(text, markup=not plain)


def prod(context: ModelContext, environment: Environment = "prod") -> Found | None:
    """What an environment serves by its state."""
    return read_state(context.store, context.spec.name, environment)


def train_and_validate(stage: Stage, model: str) -> None:
    """Run ingestion, training and validation as deployments; the release then follows by its automation."""
    for deployment in ("ingestion", "training", "validation"):
        run_deployment(stage, model, deployment)


def run_deployment(stage: Stage, model: str, name: str) -> None:
    """Run a deployment that is named like its flow to its end."""
    with stage.step(f"{model}: {name}") as notes:
        notes.append(str(runs.run(f"{name}/{name}", model=model).name))


def serve_all(context: ModelContext) -> None:
    """Make sure that the services of a released model run, as they were."""
    environments: tuple[Environment, ...] = ("uat", "prod")
    for environment in environments:
        context.services.ensure(context.spec.name, environment)
