"""Compares the scoring service with named others in one run: ``make bench``, or ``python -m benchmarks.scoring``.

Environments, models and results are under ``.bench/``; the tables go to ``docs/benchmarks.md``.
"""

import argparse
import json
import re
import shutil
import sys
import time
from contextlib import ExitStack
from statistics import median

import httpx
import msgspec

from benchmarks import results
from benchmarks.load import Load, LoadError, middle, send, wrk
from benchmarks.models import BATCH, MODELS, Subject, build
from benchmarks.paced import send_paced
from benchmarks.processes import ROOT, Running, ServerError, install, running
from benchmarks.results import Batches, Measured, Scoring
from benchmarks.servers import OURS, SERVERS

FOLDER = ROOT / ".bench"
DOCUMENT = ROOT / "docs/benchmarks.md"


def main() -> None:
    """Measure, and write the results."""
    told = _arguments()
    try:
        wrk()
    except LoadError as error:
        sys.exit(str(error))
    for leftover in ("run", "store"):  # Logs and predictions of the run before.
        shutil.rmtree(FOLDER / leftover, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    absent = _install(told.only)
    subjects = [build(name, FOLDER, ROOT / "deployments/models") for name in MODELS]
    found = Scoring(
        date=results.now(),
        machine=results.machine(),
        seconds=told.seconds,
        rounds=told.rounds,
        servers={each.name: _compare(each, told.only, absent, told.seconds, told.rounds) for each in subjects},
        batches={each.name: _batches(each, told.seconds, told.rounds) for each in subjects},
        versions=results.versions(),
    )
    (FOLDER / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode({"scoring": found})))
    section = results.render(found)
    document = DOCUMENT.read_text("utf-8") if DOCUMENT.is_file() else ""
    DOCUMENT.write_text(results.insert(document, section), "utf-8")
    _say(f"\n{section}\nwritten to {DOCUMENT.relative_to(ROOT)} and {FOLDER.name}/results.json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scoring", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, choices=range(1, 61), metavar="1..60", help="of each load")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 10), metavar="1..9")
    parser.add_argument("--only", nargs="+", default=list(SERVERS), choices=SERVERS, help="the servers to compare")
    return parser.parse_args()


def _install(names: list[str]) -> dict[str, str]:
    """Make the environments; by server, why it could not be installed."""
    absent = {}
    for name in names:
        _say(f"environment of {name}")
        try:
            install(name, FOLDER)
        except ServerError as error:
            absent[name] = str(error)
            _say(f"  {error}")
    return absent


def _compare(
    subject: Subject, names: list[str], absent: dict[str, str], seconds: int, rounds: int
) -> dict[str, Measured | str]:
    """Start all servers, then load them in turn, so that a noisy moment hits all alike."""
    failed = dict(absent)
    servers: dict[str, Running] = {}
    loads: dict[str, list[tuple[Load, Load]]] = {name: [] for name in names}
    with ExitStack() as stack:
        for name in names:
            if name not in failed:
                try:
                    servers[name] = stack.enter_context(running(name, SERVERS[name], subject, FOLDER))
                    _say(f"{subject.name}: {name} ready after {servers[name].ready_seconds:.1f} s")
                except ServerError as error:
                    failed[name] = str(error)
                    _say(f"{subject.name}: {name} failed: {error}")
        for number in range(rounds):
            for name, server in servers.items():
                if name not in failed:
                    try:
                        loads[name].append(_load(server, seconds, warm_up=number == 0))
                    except LoadError as error:
                        failed[name] = str(error)
            _say(f"{subject.name}: round {number + 1} of {rounds}")
        memory = {name: server.memory_mb for name, server in servers.items() if name not in failed}
    return {
        name: failed[name] if name in failed else _measured(servers[name].ready_seconds, memory[name], loads[name])
        for name in names
    }


def _load(server: Running, seconds: int, *, warm_up: bool) -> tuple[Load, Load]:
    """Load a server fully, then by half of what that showed."""
    if warm_up:
        send(server.url, server.body, 1, authorization=server.authorization)
    full = send(server.url, server.body, seconds, authorization=server.authorization)
    if not full.requests:
        raise LoadError(f"no answer within {seconds} s under load")
    half = send_paced(server.url, server.body, seconds, full.rate / 2, authorization=server.authorization)
    return full, half


def _measured(ready_seconds: float, memory_mb: float, loads: list[tuple[Load, Load]]) -> Measured:
    full, half = zip(*loads, strict=True)
    return Measured(ready_seconds, memory_mb, middle(list(full)), middle(list(half)))


def _batches(subject: Subject, seconds: int, rounds: int) -> Batches | str:
    body = json.dumps([subject.record] * BATCH).encode()
    file = FOLDER / "batch.json"
    file.write_bytes(body)
    service, bare = [], []
    try:
        with running(OURS, SERVERS[OURS], subject, FOLDER) as server:
            for _ in range(rounds):
                load = send(server.url, file, seconds, authorization=server.authorization, connections=1)
                if load.errors:
                    return f"{load.errors} of {load.requests} batches failed"
                service.append(BATCH * load.rate)
                bare.append(_bare(subject, body, seconds))
            dropped = _dropped(server)
    except (ServerError, LoadError) as error:
        return str(error)
    return Batches(median(service), median(bare), dropped)


def _bare(subject: Subject, body: bytes, seconds: int) -> float:
    """Rows a second without a service: parse, make one array, run the model."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(subject.onnx, options, providers=["CPUExecutionProvider"])
    names, done, began = list(subject.record), 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        records = json.loads(body)
        features = np.array([[record[name] for name in names] for record in records], dtype=np.float32)
        done += len(session.run(["probabilities"], {"features": features})[0])
    return done / passed


def _dropped(server: Running) -> int:
    text = httpx.get(server.url.replace("/score", "/metrics"), trust_env=False, timeout=10).text
    found = re.search(r"^mlops_scoring_log_dropped_rows_total\{.*\} ([0-9.e+]+)$", text, re.MULTILINE)
    if not found:
        raise ServerError("/metrics does not tell the rows that the log dropped")
    return int(float(found[1]))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
