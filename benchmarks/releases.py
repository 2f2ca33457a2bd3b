"""Releases under a steady load: ``make bench``, or ``python -m benchmarks.releases``.

A stack of its own serves iris to a client that asks 200 times a second while versions are released, killed at each
step, rolled back, while keys change and the store goes away: some ten minutes, since each release is a process of its
own. Each answer is held against the model that it names and against the prediction log. The table goes to
``docs/benchmarks.md``.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from benchmarks import results
from benchmarks.processes import ROOT
from mlops.adapters.services import key_file
from tests.e2e.bad_models import failing, slow
from tests.e2e.iris import QUICK, Iris, outage, running_iris, under_load
from tests.e2e.kills import KILLS, kill_at
from tests.e2e.load import Load, Sent, check, check_log
from tests.e2e.state_folders import state_folder

DOCUMENT = ROOT / "docs/benchmarks.md"
RATE = 200
RELEASES = 2
"""Undisturbed ones; as many more as there are kills follow those."""
ROLLBACKS = 5
OUTAGE_SECONDS = 20
LONG = {"steps": [0.2], "min_seconds": 30, "min_requests": 10, "max_seconds": 30}


class Story:
    """What happened, with the seconds that it took."""

    def __init__(self, iris: Iris, load: Load) -> None:
        self.iris = iris
        self.load = load
        self.lines: list[str] = []
        self.rollbacks: list[str] = []
        self._seed = 100

    def make(self, **how: object) -> str:
        self._seed += 1
        return self.iris.make(self._seed, **how)  # type: ignore[arg-type]

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.lines.append(f"| {what} | {time.monotonic() - began:.1f} |")
        sys.stdout.write(f"{self.lines[-1]}\n")
        sys.stdout.flush()

    def release(self) -> None:
        """Release a version, which must then be what state, alias and ledger say."""
        version = self.make()
        self.iris.finish_by_hand("release", "--version", version)
        self.iris.agrees_on(version)

    def release_in_turn(self) -> None:
        for _ in range(RELEASES):
            with self.timed("release"):
                self.release()

    def kill_at_each_step(self) -> None:
        for kill in KILLS:
            kill_at(kill, self.iris, self.make())
            with self.timed(f"the release after one killed when {kill.name}"):
                self.release()

    def roll_back(self) -> None:
        for _ in range(ROLLBACKS):
            before = self.iris.prod.champion.version
            with self.timed("rollback"):
                self.iris.finish_by_hand("rollback", "complaints", "a person")
            after = self.iris.prod.champion.version
            assert after != before
            self.iris.agrees_on(after)

    def rotate_keys(self) -> None:
        file, old, new = key_file(self.iris.settings, "iris", "prod"), self.load.key, "a-second-key-of-this-benchmark"
        for keys, used in (((old, new), new), ((new,), new)):
            draft = file.with_name("draft")
            draft.write_text("\n".join(keys))
            draft.replace(file)
            self.load.key = used
            time.sleep(2)  # The load goes on with both keys, then with the new one alone.
        asked = httpx.post(self.load.url, json={}, headers={"Authorization": f"Bearer {old}"}, trust_env=False)
        assert asked.status_code == 401

    def lose_the_store(self) -> None:
        version = self.make()
        with (
            self.timed(f"the release during which the store was away for {OUTAGE_SECONDS} s"),
            self.iris.by_hand("release", "--version", version) as run,
        ):
            self.iris.stack.wait(lambda: self.iris.prod.shadow)
            with outage(self.iris):
                time.sleep(OUTAGE_SECONDS)
            run.ends(0)
        self.iris.agrees_on(version)

    def reject_bad_canaries(self) -> None:
        champion = self.iris.prod.champion.version
        wrong = {"0": "1", "1": "2", "2": "0"}
        bad: list[tuple[str, Callable[[], str], dict[str, object]]] = [
            ("disagrees", lambda: self.make(labels=wrong), LONG),
            ("errs", lambda: self.make(change=failing(self.iris.context.spec)), LONG),
            ("is slow", lambda: self.make(change=slow(12)), LONG | {"steps": [0.03]}),
        ]
        for kind, make, canary in bad:
            # A lax budget: on a busy machine the smoke test in UAT would not let the slow one pass.
            self.iris.configure(QUICK | {"latency_ms": 5000, "shadow": {"seconds": 0}, "canary": canary})
            first, version = len(self.load.sent), make()
            with self.iris.by_hand("release", "--version", version) as run:
                run.ends(1)
            self.iris.agrees_on(champion)
            times = [each.time for each in self.load.answered(first) if each.version == version]
            entry = self.iris.told("release", version)
            assert entry.decision == "rolled back", entry.reasons
            seconds = entry.numbers["seconds_to_rollback"]
            assert seconds <= 10, entry
            self.rollbacks.append(
                f"| {kind} | {len(times)} | {max(times) - min(times) if times else 0:.1f} | {seconds:.1f}"
                f" | {entry.reasons[0]} |"
            )
        self.iris.configure(QUICK)


def main() -> None:
    """Play the story, and write what was seen."""
    with state_folder() as folder, running_iris(folder) as iris:
        with under_load(iris, RATE) as load:
            story, began, checked = Story(iris, load), time.monotonic(), 0
            for chapter in (
                story.release_in_turn,
                story.reject_bad_canaries,
                story.kill_at_each_step,
                story.roll_back,
                story.rotate_keys,
                story.lose_the_store,
            ):
                chapter()
                answered = load.answered(checked)
                check(answered, iris.context.store, "iris", load.records)
                checked += len(answered)
        sent, seconds = load.answered(), time.monotonic() - began
        check_log(sent, iris.context.store, "iris")
    section = render(story, sent, seconds)
    document = DOCUMENT.read_text("utf-8") if DOCUMENT.is_file() else ""
    DOCUMENT.write_text(results.insert(document, section, "releases"), "utf-8")
    sys.stdout.write(f"\n{section}\nwritten to {DOCUMENT.relative_to(ROOT)}\n")


def render(story: Story, sent: list[Sent], seconds: float) -> str:
    """Write the section."""
    latencies = sorted(1000 * each.seconds for each in sent)
    p50, p99 = statistics.median(latencies), latencies[int(0.99 * len(latencies))]
    return "\n".join(
        [
            "## Releases under load",
            "",
            f"{results.now()}; {results.machine()}.",
            "",
            f"iris in PROD was asked {len(sent):,} times in {seconds:.0f} s ({len(sent) / seconds:.0f} a second) while"
            f" {len(KILLS)} releases were killed (kill -9, one at each step), {RELEASES + len(KILLS) + 1} completed,"
            f" {ROLLBACKS} rollbacks ran, the keys"
            f" were rotated, the store was away for {OUTAGE_SECONDS} s and three bad canaries were let in."
            f" Requests that failed: {sum(each.status != 200 for each in sent)}. Each answer named an approved version,"
            " was the one which that version's model gives, and is in the prediction log once. After each line below"
            f" serving state, alias and ledger agreed. Answers took {p50:.1f} ms (median), {p99:.1f} ms (99th"
            " percentile), on the machine that ran all of it.",
            "",
            "| event | seconds |",
            "| --- | --: |",
            *story.lines,
            "",
            "| a canary that | answers it gave | seconds from its first to its last | until the champion answered all |"
            " reason |",
            "| --- | --: | --: | --: | --- |",
            *story.rollbacks,
            "",
        ]
    )


if __name__ == "__main__":
    main()
