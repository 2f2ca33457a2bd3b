"""Iris on a stack of its own, whose versions are made by the test, and its flows as processes started by hand."""

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import yaml

from mlops import settings as settings_module
from mlops.adapters import bundles
from mlops.adapters.datasets import iris_csv
from mlops.adapters.ledger import Entry
from mlops.adapters.registry import CHAMPION
from mlops.adapters.scoring_client import read_key
from mlops.adapters.services import key_file
from mlops.adapters.serving import read_state
from mlops.core import evaluation, training
from mlops.core.assembly import bundle_files
from mlops.core.serving import ServingState
from mlops.spec import ModelSpec
from mlops.spec import load as load_spec
from tasks.context import ModelContext
from tests.e2e.load import Load
from tests.e2e.stack import ROOT, Stack

QUICK = {
    "approval": {"prod": "automatic"},
    "shadow": {"seconds": 1},
    "canary": {"steps": [0.2, 0.5], "min_seconds": 1, "min_requests": 10, "max_seconds": 10},
}
Change = Callable[[dict[str, bytes]], dict[str, bytes]]


class Iris:
    """The model, its releases and what they left."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.settings = settings_module.load(stack.variables)
        self.file = stack.home / "deployments" / "models" / "iris.yaml"
        self.configure(QUICK)
        self.context = ModelContext(self.settings, load_spec(self.settings.models_dir, "iris"))

    def configure(self, release: dict[str, Any]) -> None:
        """Change the spec's release policy; any labels are welcome."""
        told = yaml.safe_load((ROOT / "deployments" / "models" / "iris.yaml").read_text("utf-8"))
        golden = [{"record": each["record"]} for each in told["release"]["golden"]]
        self.file.write_text(yaml.safe_dump(told | {"release": release | {"golden": golden}}))

    def make(self, seed: int, labels: dict[str, str] | None = None, change: Change = lambda files: files) -> str:
        """Train, register and accept a version, on a part of the rows.

        Args:
            seed: chooses the rows.
            labels: renames the classes, which makes a model that is wrong.
            change: changes the bundle's files, which makes a model that is bad in another way.
        """
        return make_version(self.context, seed, labels, change)

    @property
    def prod(self) -> ServingState:
        found = read_state(self.context.store, "iris", "prod")
        assert found
        return found.state

    def told(self, kind: str, version: str) -> Entry:
        entry = self.context.ledger.newest(kind, version=version)
        assert entry, f"the ledger holds no {kind} of version {version}"
        return entry

    def agrees_on(self, version: str) -> None:
        """Assert that service, state, alias and ledger say that a version is the champion."""
        state, alias = self.prod, self.context.registry.alias("iris", CHAMPION)
        assert (state.champion.version, state.shadow, state.canary) == (version, None, None)
        assert alias
        assert (alias.version, alias.digest) == (version, state.champion.digest)
        entries = [e for e in self.context.ledger.entries() if e.kind in ("release", "rollback")]
        last = [e for e in entries if e.decision == "released" or e.kind == "rollback"][-1]
        assert last.numbers["version"] == version
        url = self.context.services.describe("iris", "prod").url
        # The service looks for a new state every second or so.
        self.stack.wait(
            lambda: httpx.get(f"{url}/readyz", trust_env=False).json()["generation"] == state.generation, seconds=20
        )

    @contextmanager
    def by_hand(self, flow: str, *arguments: str) -> Iterator["ByHand"]:
        """Start a flow as a person would, in a process of its own."""
        command = [sys.executable, "-m", f"flows.{flow}", "iris", *arguments]
        log = self.stack.state / "by-hand.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.stack.home,
                env=os.environ | self.stack.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield ByHand(self, process, log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def finish_by_hand(self, flow: str, *arguments: str) -> None:
        """Run a flow by hand to its end, which must be good."""
        with self.by_hand(flow, *arguments) as run:
            run.ends(0)


class ByHand:
    """A flow run that was started by hand."""

    def __init__(self, iris: Iris, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._iris = iris
        self._process = process
        self._log = log
        self._known = set(self._runs())

    def _runs(self) -> list[str]:
        return [key.rpartition("/")[2] for key in self._iris.context.store.list("iris/serving/runs/")]

    @property
    def id(self) -> str:
        """Its id, known by its first sign of life; empty before."""
        return next((run for run in self._runs() if run not in self._known), "")

    def kill_when(
        self,
        condition: Callable[[str], object],
        then: Callable[[str], object] = lambda _: True,
        seconds: float = 90.0,
    ) -> str:
        """Kill it as soon as a condition on its id holds, and then another, for which it is stopped; return the id."""
        deadline, run = time.monotonic() + seconds, ""
        while not ((run := run or self.id) and condition(run)):
            self._goes_on(deadline)
            time.sleep(0.005)
        self._process.send_signal(signal.SIGSTOP)
        while not then(run):
            self._process.send_signal(signal.SIGCONT)
            time.sleep(0.02)
            self._goes_on(deadline)
            self._process.send_signal(signal.SIGSTOP)
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL, "it ended by itself first"
        return run

    def _goes_on(self, deadline: float) -> None:
        assert self._process.poll() is None, f"it ended before: {self.tail}"
        assert time.monotonic() < deadline, f"not in time: {self.tail}"

    def ends(self, code: int, seconds: float = 180.0) -> None:
        """Wait for its end and assert its exit code."""
        assert self._process.wait(seconds) == code, self.tail

    @property
    def tail(self) -> str:
        """The end of what it said."""
        return self._log.read_text("utf-8", "replace")[-3000:]


def make_version(
    context: ModelContext, seed: int, labels: dict[str, str] | None = None, change: Change = lambda files: files
) -> str:
    """Train, register and accept a version of iris, as ``Iris.make`` says."""
    files = change(make_bundle(context.spec, seed, labels))
    digest = bundles.save(context.store, "iris", f"seed-{seed}", files)
    run = context.registry.log_run("iris", "made by the test", {}, {}, {})
    version = context.registry.register("iris", run, digest, f"seed-{seed}", {"card.md": files["card.md"]})
    context.ledger.record("gate", f"version-{version.version}", "accepted", numbers={"digest": digest})
    return version.version


def make_bundle(spec: ModelSpec, seed: int, labels: dict[str, str] | None = None) -> dict[str, bytes]:
    """Train on a part of the rows, as ``Iris.make`` says; return the bundle's files."""
    frame = rows()
    if labels:
        frame["Species"] = frame["Species"].map(labels)
    train, holdout = training.split(frame, spec)
    train = train.sample(frac=0.95, random_state=seed)
    candidate = spec.training.candidates[0]
    estimator = training.fit(candidate, spec, train)
    metrics = evaluation.evaluate(
        holdout["Species"], training.probabilities(estimator, holdout, spec.data), spec.data.target.classes
    )
    return bundle_files(spec, f"seed-{seed}", candidate, estimator, train, holdout, metrics)


def rows() -> pd.DataFrame:
    """Iris as a typed, labelled frame."""
    frame = pd.read_csv(io.BytesIO(iris_csv()))
    return frame.drop(columns="Id", errors="ignore").astype({"Species": str})


@contextmanager
def under_load(iris: Iris, rate: float) -> Iterator[Load]:
    """Ask PROD for flowers, ``rate`` times a second."""
    url = iris.context.services.describe("iris", "prod").url
    key = read_key(key_file(iris.settings, "iris", "prod"))
    flowers: list[Any] = rows().drop(columns="Species").to_dict("records")
    chosen = random.Random(5)  # noqa: S311 - Flowers, not secrets.
    # Most are setosa, so that a model with other labels answers other classes than the champion.
    load = Load(url, key, flowers, rate, lambda: int(len(flowers) * chosen.random() ** 2.5))
    try:
        yield load
    finally:
        load.close()


@contextmanager
def running_iris(folder: Path) -> Iterator[Iris]:
    """A stack in a folder with version 1 of iris released; its store is a link, which a test may break."""
    home, state = folder / "home", folder / "state"
    home.mkdir()
    (folder / "objects").mkdir()
    (folder / "store").symlink_to(folder / "objects")
    for name in ("mlops", "tasks", "flows", "deployments", "infra"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", home)
    stack = Stack(state, home)
    stack.variables["MLOPS_STORE"] = (folder / "store").as_uri()
    try:
        for command in (("deployments.local", "up"), ("deployments.apply",)):
            done = stack.run(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        iris = Iris(stack)
        assert stack.finish("release/release", model="iris", version=iris.make(1))["state_name"] == "Completed"
        yield iris
    finally:
        stack.run("deployments.local", "down")
        stack.api.close()


@contextmanager
def outage(iris: Iris) -> Iterator[None]:
    """The store is away: every use of it fails."""
    link = Path(iris.settings.store_uri.removeprefix("file://"))
    there = link.readlink()
    _point(link, Path(link.name))  # A link to itself leads nowhere.
    try:
        yield
    finally:
        _point(link, there)


def _point(link: Path, target: Path) -> None:
    draft = link.with_name("draft")
    draft.symlink_to(target)
    draft.replace(link)
