"""A rehearsal of Azure in a folder and on ports of its own, as ``make demo-azure`` has it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


class Rehearsal:
    """The rehearsal's commands, and what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("prefect_port", "mlflow_port", "reports_port", "evidently_port")
        self.ports = {f"MLOPS_{name.upper()}": str(port) for name, port in zip(names, free_ports(4), strict=True)}

    def call(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "infra.azure_twin.rehearsal", "--folder", str(self.folder), *words],
            cwd=ROOT,
            env=os.environ | self.ports,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def environment(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "environment.json").read_bytes())
        return found

    def groups(self) -> list[str]:
        listed = (line.split() for line in self.call("resources").splitlines())
        return sorted(words[1] for words in listed if words[:1] == ["Microsoft.ContainerInstance/containerGroups"])
