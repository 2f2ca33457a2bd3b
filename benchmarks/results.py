"""What a run of the scoring benchmark found, and its tables in Markdown."""

import importlib.metadata
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from benchmarks.load import CONNECTIONS, Load
from benchmarks.models import BATCH, MODELS
from benchmarks.processes import REQUIREMENTS
from benchmarks.servers import ANCHOR, CONSTANT, OURS, SERVERS

HEADING = "# Benchmarks\n\n`make bench` measures again on your machine.\n"


class Measured(msgspec.Struct, frozen=True):
    """One server with one model."""

    ready_seconds: float
    memory_mb: float
    """Resident after the load, children included."""
    full: Load
    half: Load


class Batches(msgspec.Struct, frozen=True):
    """Rows a second in batches, over HTTP one after another, and in process without any service."""

    service: float
    bare: float
    """``json`` of the standard library, one array, one call of onnxruntime on one thread."""
    dropped: int
    """Rows that the service's prediction log had no room for meanwhile."""


class Scoring(msgspec.Struct, frozen=True, kw_only=True):
    """One run; by model, then by server, what was measured or why it was not."""

    date: str
    machine: str
    seconds: int
    rounds: int
    servers: dict[str, dict[str, Measured | str]]
    batches: dict[str, Batches | str]
    versions: dict[str, str]


def markers(name: str) -> tuple[str, str]:
    """The comments around a benchmark's section."""
    return f"<!-- {name}: begin, written by make bench -->", f"<!-- {name}: end -->"


def now() -> str:
    """The date and time, UTC, to the minute."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def machine() -> str:
    """The machine in one line: processor, cores, memory, system, Python."""
    memory = psutil.virtual_memory().total / 2**30
    cores = psutil.cpu_count() or 1
    return f"{_processor()}, {cores} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    return found[1] if found else platform.machine()


def versions() -> dict[str, str]:
    """The versions compared: each competitor's as pinned, and what this service is made of."""
    ours = {
        name: importlib.metadata.version(name)
        for name in ("uvicorn", "httptools", "uvloop", "onnxruntime", "scikit-learn")
    }
    pinned = {}
    for name, server in SERVERS.items():
        if server.package:
            text = (REQUIREMENTS / f"{name}.txt").read_text("utf-8")
            pinned[server.package] = pins(text)[server.package]
    return ours | pinned


def pins(text: str) -> dict[str, str]:
    """The exact versions in a requirements file."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE))


def render(found: Scoring) -> str:
    """Write the section of a run: machine, a table for each model, batches."""
    told = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    parts = [
        "## Scoring",
        f"{found.date}; {found.machine}.\n{told}.",
        f"One process each, wrk with {CONNECTIONS} connections on the same machine, single records; medians of"
        f" {found.rounds} alternated rounds of {found.seconds} s. *Half load*: at random moments at half of"
        " each server's own rate, by a client of ours (*at*: the share that was answered in time). *Ready*: from the"
        " start of the process to its first right answer. *Memory*: resident, children included, after the load.",
    ]
    for model, servers in found.servers.items():
        parts += [f"### {MODELS[model].capitalize()}", _table(servers), *_ratios(servers)]
    return "\n\n".join([*parts, f"### Batches of {BATCH:,}", _batches(found.batches)]) + "\n"


def _table(servers: dict[str, Measured | str]) -> str:
    anchor = servers.get(ANCHOR)
    lines = [
        "| server | requests/s | × anchor | p50, p99 at full load (ms) | p50, p99 at half load (ms) | at | errors"
        " | memory (MB) | ready (s) |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for name, result in servers.items():
        title = SERVERS[name].title
        if isinstance(result, str):
            lines.append(f"| {title} | failed: {_cell(result)} | | | | | | | |")
            continue
        full, half = result.full, result.half
        times = f"{full.rate / anchor.full.rate:.1f}" if isinstance(anchor, Measured) else ""
        cells = [title, f"{full.rate:,.0f}", times, _latency(full), _latency(half), f"{half.rate / full.rate:.2f}"]
        cells += [str(full.errors + half.errors), f"{result.memory_mb:.0f}", f"{result.ready_seconds:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _latency(load: Load) -> str:
    return f"{load.p50_ms:.1f}, {load.p99_ms:.1f}"


def _ratios(servers: dict[str, Measured | str]) -> list[str]:
    ours, constant, anchor = (servers.get(name) for name in (OURS, CONSTANT, ANCHOR))
    if not isinstance(ours, Measured):
        return []
    said = []
    if isinstance(anchor, Measured):
        said.append(f"{ours.full.rate / anchor.full.rate:.1f} times the anchor's requests per second")
        said.append(f"{ours.half.p99_ms / anchor.half.p99_ms:.2f} of its p99 at half load")
    if isinstance(constant, Measured):
        said.append(f"{ours.full.rate / constant.full.rate:.2f} of the constant's requests per second")
    return [f"This service: {', '.join(said)}."] if said else []


def _batches(batches: dict[str, Batches | str]) -> str:
    lines = [
        "One connection, one batch after another, against the standard library's `json`, one array and one call of"
        " onnxruntime in process (one thread, no checks, no answer written).",
        "",
        "| model | rows/s over HTTP | rows/s bare | ratio | rows the log dropped |",
        "| --- | --: | --: | --: | --: |",
    ]
    for model, found in batches.items():
        if isinstance(found, str):
            lines.append(f"| {model} | failed: {_cell(found)} | | | |")
        else:
            ratio = found.service / found.bare
            lines.append(f"| {model} | {found.service:,.0f} | {found.bare:,.0f} | {ratio:.2f} | {found.dropped} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def insert(document: str, section: str, name: str = "scoring") -> str:
    """Put a benchmark's section between its markers, leaving everything else; at the end where there are none yet."""
    first, last = markers(name)
    block = f"{first}\n{section}{last}\n"
    before, begin, rest = (document or HEADING).partition(first)
    if not begin:
        return f"{before.rstrip()}\n\n{block}"
    return before + block + rest.partition(last)[2].removeprefix("\n")
