"""How a flow run starts in a container: with the servers' password, or as it is where they ask for none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows import start
from mlops.adapters import sign_in
from mlops.adapters.azure_vault import VaultError

ROOT = Path(__file__).parents[2]
TELL = "import os; print(os.environ.get('PREFECT_API_AUTH_STRING'), os.environ.get('MLOPS_SERVERS_SIGN_IN'))"


def test_it_becomes_the_command(tmp_path: Path) -> None:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PREFECT_", "AZURE_"))}
    told = {"MLOPS_SECRETS_DIR": str(tmp_path), "PREFECT_API_AUTH_STRING": "of the worker"}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.start", sys.executable, "-c", TELL]
        return subprocess.run(
            command, cwd=ROOT, env=own | told | more, capture_output=True, text=True, timeout=60, check=False
        )

    assert run().stdout == "of the worker None\n"
    (tmp_path / sign_in.FILE).write_text("mlops:word")
    vault = {"MLOPS_AZURE_SERVERS_SECRET": "s", "MLOPS_AZURE_KEY_VAULT": "https://v.vault.azure.net"}
    assert run(**vault).stdout == "mlops:word mlops:word\n"
    (tmp_path / sign_in.FILE).write_text("word")
    refused = run(**vault)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the flow run cannot start: " in refused.stderr


def test_a_vault_that_does_not_answer_yet_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [VaultError("no token yet"), VaultError("no token yet"), sign_in.SignIn("mlops", "word")]
    slept: list[float] = []
    became: list[list[str]] = []

    def ask(_: object) -> sign_in.SignIn:
        told = answers.pop(0)
        if isinstance(told, Exception):
            raise told
        return told

    monkeypatch.setattr(start, "servers_sign_in", ask)
    monkeypatch.setattr(start.time, "sleep", slept.append)
    monkeypatch.setattr(start.os, "execvp", lambda _, words: became.append(words))
    for name, value in (("SECRETS_DIR", str(tmp_path)), ("AZURE_SERVERS_SECRET", "s")):
        monkeypatch.setenv(f"MLOPS_{name}", value)
    for name in ("PREFECT_API_AUTH_STRING", sign_in.VARIABLE):
        monkeypatch.setenv(name, "")
    start.main(["prefect", "flow-run", "execute"])
    assert (slept, became) == ([2.0, 4.0], [["prefect", "flow-run", "execute"]])
    assert os.environ["PREFECT_API_AUTH_STRING"] == "mlops:word"
    answers.extend([VaultError("the vault is away")] * 6)
    assert start.main(["prefect"]) == 1
    assert "the flow run cannot start: the vault is away" in capsys.readouterr().err
