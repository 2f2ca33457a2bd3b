"""The supervisor starts what ends again, with growing delay, and needs nothing but the standard library."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from mlops.scoring import supervise
supervise.SERVICE = sys.argv[2]
supervise.main()
"""


def status(file: Path) -> dict[str, int | None]:
    found: dict[str, int | None] = json.loads(file.read_text()) if file.exists() else {"restarts": 0, "pid": None}
    return found


def start(file: Path, module: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file), module],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(file.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_service_that_ends_is_started_again_with_growing_delay(tmp_path: Path) -> None:
    file = tmp_path / "status"
    with start(file, "this") as supervisor:  # Prints a poem and ends.
        assert eventually(lambda: (status(file)["restarts"] or 0) >= 3)
        supervisor.send_signal(signal.SIGTERM)
        output, _ = supervisor.communicate(timeout=20)
    messages = [json.loads(line)["message"] for line in output.splitlines() if line.startswith("{")]
    assert messages[:3] == [
        f"the service ended (exit code 0) and is started again in {delay} s" for delay in ("0.2", "0.4", "0.8")
    ]
    assert status(file)["last_exit"] == 0


def test_a_signal_is_passed_on_and_the_exit_code_is_the_services(tmp_path: Path) -> None:
    file = tmp_path / "status"
    (tmp_path / "waits.py").write_text("import threading\nthreading.Event().wait()\n")
    with start(file, "waits") as supervisor:
        assert eventually(lambda: status(file)["pid"] is not None)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(20) != 0
        supervisor.communicate()
    assert status(file)["last_exit"] == -signal.SIGTERM
    assert status(file)["pid"] is None


def test_a_status_that_cannot_be_written_ends_no_service(tmp_path: Path) -> None:
    """As on a full disk."""
    (tmp_path / "marks.py").write_text(
        "import pathlib, threading\npathlib.Path(__file__).with_name('mark').touch()\nthreading.Event().wait()\n"
    )
    file = tmp_path / "status"
    file.mkdir()
    with start(file, "marks") as supervisor:
        assert eventually((tmp_path / "mark").exists)
        assert supervisor.poll() is None
        supervisor.send_signal(signal.SIGTERM)
        supervisor.communicate(timeout=20)


def test_nothing_but_the_standard_library_is_imported() -> None:
    program = "import sys, mlops.scoring.supervise; print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run([sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) - set(sys.stdlib_module_names) <= {"mlops", "__main__"}
