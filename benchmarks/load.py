"""Load from wrk, and what it measured."""

import shutil
import subprocess
from pathlib import Path
from statistics import median

import msgspec

CONNECTIONS = 8
SCRIPT = Path(__file__).with_name("post.lua")
MARK = "measured "


class LoadError(Exception):
    """wrk is absent, failed or printed something else than a measurement."""


class Load(msgspec.Struct, frozen=True):
    """One run of wrk: how many requests it sent in how many seconds, and how long the answers took."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    """Answers with another status than 2xx or 3xx."""
    broken: int
    """Connections that failed, and requests without an answer in time."""

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def errors(self) -> int:
        """Requests without a good answer."""
        return self.refused + self.broken


def wrk() -> str:
    """Find wrk.

    Raises:
        LoadError: it is not installed; the message says how to get it.
    """
    if found := shutil.which("wrk"):
        return found
    raise LoadError("wrk makes the load and is not installed: apt-get install wrk (or brew install wrk)")


def send(url: str, body: Path, seconds: int, *, authorization: str, connections: int = CONNECTIONS) -> Load:
    """POST a file over and over, each connection as soon as it has its answer.

    Raises:
        LoadError: wrk failed or did not end in time.
    """
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT), url, "--"]
    command += [str(body), authorization]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise LoadError(f"wrk did not end within {seconds + 30} s") from None
    if ended.returncode:
        raise LoadError(f"wrk ended with {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-300:]}")
    return parse(ended.stdout)


def parse(output: str) -> Load:
    """Read the measurement that ``post.lua`` prints among wrk's own lines.

    Raises:
        LoadError: there is none, or none that can be read.
    """
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    try:
        return msgspec.json.decode(lines[0].removeprefix(MARK), type=Load)
    except (IndexError, msgspec.DecodeError) as error:
        raise LoadError(f"wrk printed no measurement ({error}): {output.strip()[-300:]}") from None


def middle(loads: list[Load]) -> Load:
    """The median of each figure; errors are added up."""
    return Load(
        requests=round(median(load.requests for load in loads)),
        seconds=median(load.seconds for load in loads),
        p50_ms=median(load.p50_ms for load in loads),
        p99_ms=median(load.p99_ms for load in loads),
        refused=sum(load.refused for load in loads),
        broken=sum(load.broken for load in loads),
    )
