"""The benchmark's own arithmetic: what wrk said, medians, tables and the document; nothing is timed here."""

from itertools import pairwise
from pathlib import Path
from statistics import stdev

import msgspec
import pytest

from benchmarks import results
from benchmarks.load import Load, LoadError, middle, parse
from benchmarks.paced import schedule
from benchmarks.results import Batches, Measured, Scoring
from benchmarks.servers import SERVERS

ROOT = Path(__file__).parents[2]
WRK = """Running 2s test @ http://127.0.0.1:8080/score
  1 threads and 8 connections
Requests/sec:   2838.98
measured {"requests": 5726, "seconds": 2.0, "p50_ms": 1.8350, "p99_ms": 60.3610, "refused": 3, "broken": 1}
"""


def load(rate: float, p99_ms: float = 2.0, refused: int = 0) -> Load:
    return Load(requests=round(4 * rate), seconds=4.0, p50_ms=1.0, p99_ms=p99_ms, refused=refused, broken=0)


def measured(rate: float, half_p99_ms: float = 2.0, refused: int = 0) -> Measured:
    return Measured(1.25, 112.3, full=load(rate, refused=refused), half=load(rate / 2, half_p99_ms))


def scoring(**servers: Measured | str) -> Scoring:
    return Scoring(
        date="2026-01-02 03:04 UTC",
        machine="a processor, 2 cores",
        seconds=4,
        rounds=3,
        servers={"tree": dict(servers)},
        batches={"tree": Batches(service=80_000, bare=100_000, dropped=7)},
        versions={"uvicorn": "0.54.0"},
    )


def row(text: str, title: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_measurement_is_found_among_wrks_own_lines() -> None:
    found = parse(WRK)
    assert (found.rate, found.p50_ms, found.p99_ms, found.errors) == (2863, 1.835, 60.361, 4)


@pytest.mark.parametrize("output", ["", "unable to connect", "measured {", 'measured {"requests": 1}'])
def test_output_without_a_measurement_is_an_error_that_shows_it(output: str) -> None:
    with pytest.raises(LoadError, match="wrk printed no measurement") as caught:
        parse(output)
    assert output in str(caught.value)


def test_the_median_round_stands_for_all_and_no_error_is_lost() -> None:
    found = middle([load(100, 5, refused=1), load(300, 9), load(200, 40, refused=2)])
    assert (found.rate, found.p99_ms, found.errors) == (200, 9, 3)


def test_paced_requests_come_at_random_moments_at_the_rate_asked_for() -> None:
    moments = list(schedule(500, 20))
    gaps = [after - before for before, after in pairwise(moments)]
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    assert moments == sorted(moments)
    assert 0 < moments[0] < moments[-1] < 20
    assert stdev(gaps) == pytest.approx(1 / 500, rel=0.05)  # As in a Poisson process: equal to the mean.


def test_the_table_compares_with_the_anchor_and_the_constant() -> None:
    text = results.render(scoring(ours=measured(4000, 2), constant=measured(5000), azureml=measured(500, 20)))
    cells = row(text, "this service")
    assert cells[1:3] == ["4,000", "8.0"]
    assert cells[5:] == ["0.50", "0", "112", "1.2"]
    assert "8.0 times the anchor's requests per second, 0.10 of its p99 at half load, 0.80 of the constant's" in text
    assert row(text, "tree") == ["tree", "80,000", "100,000", "0.80", "7"]


def test_a_server_that_did_not_start_stays_in_the_table_with_its_reason() -> None:
    text = results.render(scoring(ours=measured(4000, refused=2), azureml="ended with 1: a | b\nc"))
    assert row(text, "this service")[2] == ""
    assert row(text, "this service")[6] == "2"
    assert "failed: ended with 1: a \\| b c" in text
    assert "times the anchor" not in text


def test_results_survive_their_file() -> None:
    found = scoring(ours=measured(4000), azureml="not installed")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Scoring) == found


def test_a_section_is_replaced_in_place_and_others_are_left() -> None:
    document = results.insert("", "first\n") + "\n## Another\n\ntext\n"
    again = results.insert(document, "second\n")
    assert again == document.replace("first\n", "second\n")
    assert again.startswith("# Benchmarks\n")
    assert results.insert(again, "second\n") == again


def test_every_competitor_has_pinned_requirements_and_reads_the_same_pickle() -> None:
    locked = results.pins((ROOT / "requirements.lock").read_text("utf-8"))
    for name, server in SERVERS.items():
        if server.package:
            pinned = results.pins((ROOT / f"benchmarks/requirements/{name}.txt").read_text("utf-8"))
            assert server.package in pinned
            assert (pinned["scikit-learn"], pinned["joblib"]) == (locked["scikit-learn"], locked["joblib"])
