"""The loop's benchmark: intervals, streams whose changes are known, and the section it writes."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks import replay
from benchmarks.replay import Run, interval, render
from benchmarks.streams import KINDS


def run(kind: str, seed: int, ours: float) -> Run:
    names = {"never": 0.5, "always": 0.8, "ours": ours, "control": 0.7}
    return Run(
        kind=kind, seed=seed, accuracy=names, log_loss={name: 1 - value for name, value in names.items()},
        retrains={"never": 0, "always": 71, "ours": 12, "control": 12}, cpu_seconds=dict.fromkeys(names, 1.0),
        alarms=3, false_alarms=0, delays=(1, None), wall=1.0,
    )  # fmt: skip


def test_intervals_are_students() -> None:
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.30 / 3**0.5))
    assert interval([1.0]) == (1.0, float("inf"))


def test_the_section_has_a_row_for_each_kind_and_the_flights_share() -> None:
    written = render([run("abrupt", 0, 0.85), run("abrupt", 1, 0.87), run("flights", 0, 0.81)])
    assert "| abrupt | 2 | 0.8600 ± 0.1271 | +0.0600 ± 0.1271 |" in written
    assert "12.0, 71 | 1, 1, missed, missed | 0 |" in written
    assert "The loop's log loss is -5.00 % of retraining every week's." in written


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_drawn_by_their_seed_and_change_where_they_say(kind: str) -> None:
    frame, changes = KINDS[kind](0, 4000)
    again, _ = KINDS[kind](0, 4000)
    other, _ = KINDS[kind](1, 4000)
    assert frame.equals(again)
    assert not frame.equals(other)
    assert set(frame["y"]) == {"yes", "no"}
    assert all(0 < row < 4000 for row in changes)
    assert (kind in ("virtual", "still")) == (not changes)
    shift = abs(frame["x0"].iloc[:1000].mean() - frame["x0"].iloc[-1000:].mean())
    assert kind == "virtual" or shift < 0.2 * np.sqrt(2)


def test_runs_that_are_kept_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, document = tmp_path / "runs.jsonl", tmp_path / "benchmarks.md"
    kept.write_bytes(b"".join(msgspec.json.encode(run("still", seed, 0.8 + seed / 100)) + b"\n" for seed in range(2)))
    monkeypatch.setattr(replay, "DOCUMENT", document)
    assert replay.main(["--only", "still", "--seeds", "2", "--workers", "1", "--kept", str(kept)]) == 0
    assert "| still | 2 | 0.8050 ± 0.0636 |" in document.read_text("utf-8")
    assert capsys.readouterr().out == "", "nothing was left to run"
