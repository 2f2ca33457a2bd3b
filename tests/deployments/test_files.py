"""Bad files given to `mlops drift` and `mlops replay`: a clear error or a data incident, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.cli import main
from tests.deployments.bad_files import CASES, ROWS, csv, table


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    (tmp_path / "reference.csv").write_bytes(csv(table()))
    return tmp_path / "reference.csv"


def written(name: str, folder: Path) -> Path:
    file = folder / ("bad.parquet" if "Parquet" in name else "bad.csv")
    file.write_bytes(CASES[name][0](folder))
    return file


@pytest.mark.parametrize("name", CASES)
def test_replay_refuses_a_bad_file_and_says_what_to_do(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(name, tmp_path)
    code = main(["replay", str(file), "--target", "y", "--time", "at", "--window", "100", "--policies", "never"])
    said = capsys.readouterr()
    assert code == 2, said
    assert CASES[name][1] in said.err
    assert said.err.startswith(f"mlops: {file}: ")
    assert said.out == ""


@pytest.mark.parametrize("name", CASES)
def test_drift_refuses_a_bad_file_or_finds_an_incident(
    name: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["drift", str(reference), str(written(name, tmp_path)), "--target", "y"])
    said = capsys.readouterr()
    expected = CASES[name][1] if CASES[name][2] is None else CASES[name][2]
    if not expected:
        assert code in (0, 3), "bad for a replay, and a window like any other for a comparison"
        return
    assert code in (2, 3), said
    assert expected in (said.err if code == 2 else said.out)
    assert (said.out.startswith("DATA INCIDENT")) == (code == 3)
    assert said.err.startswith("mlops: ") == (code == 2)


@pytest.mark.parametrize("name", CASES)
def test_drift_refuses_a_bad_reference(
    name: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["drift", str(written(name, tmp_path)), str(reference), "--target", "y"])
    said = capsys.readouterr()
    assert code in (0, 2, 3)
    if code == 2:
        assert said.err.startswith(f"mlops: {tmp_path}")
        assert len(said.err.splitlines()) == 1


def _refuse(_: Path) -> bytes:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("command", ["replay", "drift"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [("missing", "there is no such file"), ("folder", "it is a folder"), ("forbidden", "you may not read it")],
)
def test_what_is_no_readable_file_is_said(
    command: str,
    kind: str,
    said: str,
    reference: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = reference.parent if kind == "folder" else reference.parent / "absent.csv" if kind == "missing" else reference
    if kind == "forbidden":
        # Tests may run as root, whom no permission stops.
        monkeypatch.setattr(Path, "read_bytes", _refuse)
    options = [str(file), "--target", "y"] if command == "replay" else [str(file), str(reference)]
    assert main([command, *options]) == 2
    assert f"mlops: {file}: {said}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "yy"], "there is no column 'yy'; did you mean 'y'?"),
        (["--target", "y", "--time", "when"], "there is no column 'when'"),
        ([], "which column is to be predicted?"),
        (["--target", "y", "--window", "1m"], "'1m' is no length"),
        (["--target", "y", "--window", "1d"], "needs times"),
        (["--target", "y", "--window", "500"], "fewer than two are left to judge"),
        (["--target", "y", "--window", "99999999w"], "longer than a century"),
        (["--target", "y", "--time", "y"], "'y' is named as --target and as --time"),
        (["--target", "y", "--sort"], "--sort needs the column to sort by"),
        (["--target", "y", "--policies", "every:0"], "there is no policy 'every:0'"),
        (["--target", "y", "--json", "/nowhere/found.json"], "there is no folder /nowhere"),
        (["--target", "y", "--plot", "/"], "/: it cannot be written: it is a folder"),
        (["--target", "y", "--policies", "sometimes"], "there is no policy 'sometimes'"),
        (["--target", "y", "--policies", ","], "name one policy at least"),
        (["--target", "y", "--changes", "0"], "'0' is no row from 1 to 600"),
        (["--target", "y", "--changes", "x"], "'x' is no row"),
        (["--target", "y", "--spec", "nothing"], "no spec for model 'nothing'"),
        (["--spec", "absent.yaml"], "absent.yaml: it cannot be read"),
        (["--target", "y", "--spec", "flights"], "--target is 'y', the spec's is 'late'"),
        (["--spec", "flights"], "there is no column 'late'"),
    ],
)
def test_options_that_cannot_be_used_are_said(
    options: list[str], said: str, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(reference), *options]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_mark_of_byte_order_and_huge_integers_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, now = tmp_path / "before.csv", tmp_path / "now.csv"
    for file, seed in ((before, 0), (now, 1)):
        frame = table(seed).assign(big=[str(10**30 + row % 7 * 10**29) for row in range(ROWS)])
        file.write_bytes(b"\xef\xbb\xbf" + csv(frame.drop(columns="at")))
    assert main(["drift", str(before), str(now), "--target", "y"]) == 0
    assert "Compared: a, b, town, big, predicted_y." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"town": "Zell"}, "town"),
        ({"b": 12.5}, "b"),
        ({"b": ""}, "b"),
        ({"more": 1}, "Column more: the reference has none of this name"),
    ],
)
def test_incidents_end_with_3_and_name_the_column(
    change: dict[str, object], named: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "now.csv").write_bytes(csv(table(1).assign(**change)))
    assert main(["drift", str(reference), str(tmp_path / "now.csv")]) == 3
    said = capsys.readouterr().out
    assert said.startswith("DATA INCIDENT: now.csv against reference.csv")
    assert named in said


def test_the_json_has_verdict_reasons_and_numbers_of_every_column(reference: Path, tmp_path: Path) -> None:
    now, found = tmp_path / "now.csv", tmp_path / "found.json"
    now.write_bytes(csv(table(1).assign(a=lambda frame: frame["a"] + 1)))
    assert main(["drift", str(reference), str(now), "--json", str(found)]) == 3
    read = json.loads(found.read_bytes())
    assert read["verdict"] == "investigate"
    assert read["reasons"]
    assert {each["column"] for each in read["columns"]} >= {"a", "b", "town"}
    assert any(each["column"] == "a" and each.get("drifted", True) and each["effect"] > 0.2 for each in read["columns"])


@pytest.mark.parametrize("form", ["labels", "probabilities", "none"])
def test_labels_that_turned_are_found_with_and_without_predictions(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for seed, flipped in ((0, False), (1, False), (2, True)):
        frame, file = table(seed, 1500), tmp_path / f"{seed}.csv"
        second = 1 / (1 + np.exp(-5 * frame["a"]))
        if form != "none":
            frame["guess"] = second.round(4) if form == "probabilities" else np.where(second > 0.5, "yes", "no")
        if flipped:
            frame["y"] = frame["y"].map({"yes": "no", "no": "yes"}).where(frame.index % 4 == 0, frame["y"])
        file.write_bytes(csv(frame.drop(columns="at")))
        files.append(str(file))
    options = ["--target", "y", *([] if form == "none" else ["--prediction", "guess"])]
    assert main(["drift", files[0], files[1], *options]) == 0
    assert main(["drift", files[0], files[2], *options]) == 3
    assert "RETRAIN: " in capsys.readouterr().out


def changed(folder: Path, name: str, rows: slice = slice(None), **change: object) -> str:
    (folder / name).write_bytes(csv(table(0 if name == "before.csv" else 1).assign(**change).iloc[rows]))
    return str(folder / name)


@pytest.mark.parametrize(
    ("before", "now", "options", "said"),
    [
        ({"rows": slice(5)}, {}, [], "before.csv: 5 rows are no reference; it needs 100 or more"),
        (
            {"rows": slice(150)},
            {},
            ["--target", "y"],
            "before.csv: 150 rows have a label, 250 are needed to fit and to",
        ),
        ({"y": ["yes"] + ["no"] * 599}, {}, ["--target", "y"], "before.csv: no model can be fitted on it: no training"),
        ({}, {}, ["--target", "y", "--prediction", "y"], "'y' is named as --target and as --prediction"),
        (
            {"p": 2.0},
            {"p": 0.5},
            ["--target", "y", "--prediction", "p"],
            "before.csv: row 1, column 'p': '2.0' is none",
        ),
        ({}, {}, ["--spec", "iris"], "before.csv: there is no column 'SepalLengthCm'. It has: a, b"),
        ({}, {}, ["--spec", "iris", "--target", "y"], "--target is 'y', the spec's is 'Species'; name that one"),
    ],
)
def test_what_shows_nothing_is_refused(
    before: dict[str, Any],
    now: dict[str, Any],
    options: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [changed(tmp_path, "before.csv", **before), changed(tmp_path, "now.csv", **now)]
    assert main(["drift", *files, *options]) == 2
    assert said in capsys.readouterr().err


def test_tables_without_a_common_column_are_refused(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "now.csv").write_text(table(1).to_csv(index=False, header=False))
    assert main(["drift", str(reference), str(tmp_path / "now.csv")]) == 2
    assert "now.csv: it has no column of the reference, but 0.346" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at": ""}, "Column at: every value is missing"),
        ({"at": "2026-01-01T00:00:00Z"}, "Column at: every row holds 2026-01-01T00:00:00Z"),
        ({"at": "01.02.2026"}, "Column at: row 1 has '01.02.2026', which is not a time"),
        ({"guess": ""}, "In row 1, column 'guess': there is no prediction (600 such rows)"),
        ({"guess": "perhaps"}, "In row 1, column 'guess': 'perhaps' is none of the classes no, yes (600 such rows)"),
        ({"y": "perhaps"}, "In row 1: y 'perhaps' is none of the classes no, yes (600 such rows)"),
        ({"town": "\x1b[31mUlm"}, r"'\x1b[31mUlm'"),
    ],
)
def test_what_the_tests_do_not_compare_is_an_incident_too(
    change: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [changed(tmp_path, "before.csv", guess="no"), changed(tmp_path, "now.csv", **{"guess": "no", **change})]
    assert main(["drift", *files, "--target", "y", "--prediction", "guess"]) == 3
    told = capsys.readouterr().out
    assert told.startswith("DATA INCIDENT")
    assert said in told
    assert "\x1b" not in told


def test_what_programs_write_for_nothing_is_no_class_and_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table(1)
    gaps = {
        "y": frame["y"].where(frame.index % 9 > 0, "nan"),
        "b": frame["b"].astype(str).where(frame.index % 99 > 0, "?"),
    }
    files = [changed(tmp_path, "before.csv"), changed(tmp_path, "now.csv", **gaps)]
    assert main(["drift", *files, "--target", "y"]) == 0
    assert main(["replay", files[1], "--target", "y", "--window", "100", "--policies", "never"]) == 0
    assert "67 rows without a label are left out." in capsys.readouterr().err


def test_columns_that_are_left_out_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    percents = table()["b"].astype(str) + "%"
    assert main(["drift", *([changed(tmp_path, "before.csv", b=percents)] * 2)]) == 0
    assert (
        "Column b has 512 different texts such as '44.22%', too many for a category: left out."
        in capsys.readouterr().err
    )


def test_lines_may_end_with_returns_alone(reference: Path, tmp_path: Path) -> None:
    (tmp_path / "now.csv").write_bytes(csv(table(1)).replace(b"\n", b"\r"))
    assert main(["drift", str(reference), str(tmp_path / "now.csv")]) == 0


def test_predictions_that_are_no_classes_are_refused(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "now.csv").write_bytes(csv(table(1)))
    assert main(["drift", str(reference), str(tmp_path / "now.csv"), "--target", "y", "--prediction", "b"]) == 2
    assert "row 1, column 'b'" in capsys.readouterr().err


def test_a_replay_writes_table_json_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "past.csv"
    file.write_bytes(csv(table(3, 2000)))
    options = ["--target", "y", "--time", "at", "--window", "1w", "--train", "3w", "--policies", "never,every:3,ours"]
    written = ["--json", str(tmp_path / "found.json"), "--plot", str(tmp_path / "plot.png"), "--changes", "1500"]
    assert main(["replay", str(file), *options, *written]) == 0
    said = capsys.readouterr().out
    assert "Recommended: " in said
    assert "every:3" in said
    read = json.loads((tmp_path / "found.json").read_bytes())
    assert set(read["policies"]) == {"never", "every:3", "ours"}
    for policy in read["policies"].values():
        assert {"accuracy", "log_loss", "retrains", "alarms", "cpu_seconds", "windows", "delays"} <= set(policy)
        assert {"rows", "accuracy", "log_loss", "verdict", "version"} <= set(policy["windows"][0])
    assert read["policies"]["every:3"]["retrains"] == 2
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_starts_without_prefect_and_evidently() -> None:
    code = "import sys; from deployments.cli import main\ntry: main(['drift', '--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in ('prefect', 'evidently', 'sklearn', 'mlflow', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
