"""The table of faults and outcomes: what was seen, as docs/azure-faults.md shows it."""

import itertools
from dataclasses import dataclass

from benchmarks import results
from tests.e2e.asking import Asked
from tests.e2e.fault_cases import Case
from tests.e2e.fault_world import ROOT, End

PAGE = ROOT / "docs" / "azure-faults.md"
WORDS = 160
HEAD = """\
# Faults of Azure and their outcomes

`make faults` plays each row on [the twin](azure-twin.md) and writes it here: the flows themselves, `training` as a job
of the worker `azure-ml`, `provision` and `release` in a process of their own or, where "the run's group" or "in its
container group" stands, in a container group of the unmodified worker `azure-container-instance`. PROD is asked ten
times a second meanwhile. A part of the rows is played in every test run (`tests/e2e/test_faults_azure.py`).

*ends* is the flow run's state, with Azure's words in its message; *again* the next run, without the fault; *left* what
was on Azure afterwards beside the two scoring groups. Seconds are those of the machine on which everything ran.

Workers act by a managed identity, as `infra/bicep` gives them, and have no secret that could be wrong; a worker without
a role is among the tests of the pools ([azure-twin.md](azure-twin.md#faults-and-outcomes)).
"""
TITLES = {"provision": "Provisioning", "training": "Training", "release": "Release"}
COLUMNS = ("fault", "strikes while", "ends", "message", "again", "left", "PROD")


@dataclass(frozen=True)
class Seen:
    """What became of a case."""

    case: Case
    first: End
    again: End | None
    left: list[str]
    during: Asked
    after: Asked

    @property
    def prod(self) -> str:
        """How PROD did."""
        first = _prod(self.during, self.case.away)
        return first if not self.again else f"{first}; in the next run {_prod(self.after, self.case.away_again)}"


def _prod(asked: Asked, why: str) -> str:
    count, failed = len(asked.answers), len(asked.failed)
    if not failed:
        return f"answered all of {count}"
    return f"away for {asked.away:.1f} s ({failed} of {count} not answered{f': {why}' if why else ''})"


def row(seen: Seen) -> str:
    """A line of the table."""
    first, again = seen.first, seen.again
    left = "nothing" if not seen.left else f"{len(seen.left)} ({seen.left[0].split(' ')[0]}), removed by the reaper"
    cells = (
        seen.case.fault,
        seen.case.where,
        f"*{first.name}*, {first.seconds:.0f} s",
        _words(first.message, seen.case.says) if first.type != "COMPLETED" else "",
        f"*{again.name}*, {again.seconds:.0f} s" if again else "–",
        left,
        seen.prod,
    )
    return f"| {' | '.join(cells)} |"


def write(seen: list[Seen]) -> None:
    """Write the sections of the flows that were played; those of others stay."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    sections = {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}
    for flow, group in itertools.groupby(seen, key=lambda each: each.case.flow):
        rows = [row(each) for each in group]
        told = f"{len(rows)} row{'' if len(rows) == 1 else 's'}; {results.now()}; {results.machine()}."
        table = "\n".join([f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}", *rows])
        sections[TITLES[flow]] = f"{TITLES[flow]}\n\n{told}\n\n{table}\n"
    parts = [sections[title] for title in TITLES.values() if title in sections]
    PAGE.write_text("\n## ".join([HEAD, *parts]), "utf-8")


def _words(message: str, says: str) -> str:
    """The part of a message around Azure's words, as one line of a table."""
    text = " ".join(message.replace("|", "¦").split())
    at = max(0, text.find(says))
    begin = max(0, at - 40)
    shown = text[begin : begin + WORDS]
    return f"{'…' if begin else ''}{shown}{'…' if begin + WORDS < len(text) else ''}"
