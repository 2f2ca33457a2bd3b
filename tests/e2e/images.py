"""Images built by Buildah, which needs no engine that runs, and containers of them as plain processes."""

import json
import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
TOOLS = ("buildah", "debootstrap")
PACKAGES = "ca-certificates,python3,python3-pip,python3-setuptools"
PULL_SECONDS = 120
BUILD_SECONDS = 900
MACHINES_OWN = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches packages: lent to a build, never a part of an image."""


def obstacle() -> str:
    """Why no image can be built here; empty where one can."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not installed (apt-get install {' '.join(TOOLS)})"
    return "" if os.geteuid() == 0 else "debootstrap and Buildah's isolation by chroot need root"


class Images:
    """Images in a storage of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buildah = ["buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def prepare(self) -> None:
        """Pull the base of all images or, where no registry answers, make one of the same Debian and Python."""
        try:
            pulled = subprocess.run(
                [*self._buildah, "pull", "--quiet", BASE], capture_output=True, timeout=PULL_SECONDS, check=False
            )
            if pulled.returncode == 0:
                return
        except subprocess.TimeoutExpired:
            pass
        system = self._folder / "system"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", system],
            stdout=subprocess.DEVNULL,
            timeout=BUILD_SECONDS,
            check=True,
        )
        # As in the image of that name, `python` and `pip` are there, and pip may install for everybody.
        (system / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        (system / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
        container = self._call("from", "scratch")
        self._call("add", "--quiet", container, str(system), "/")
        self._call("config", "--env", f"PATH=/usr/local/bin:{os.defpath}:/usr/sbin:/sbin", container)
        self._call("commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(system)

    def build(self, name: str) -> str:
        """Build one of infra/docker from the checkout; return the image's tag.

        Raises:
            AssertionError: it failed; the message ends with what the builder said.
        """
        tag = f"localhost/mlops-{name}"
        lent = [part for file in MACHINES_OWN if Path(file).is_file() for part in ("--volume", f"{file}:{file}:ro")]
        self._call(
            *("build", "--isolation", "chroot", "--pull-never", "--format", "docker", *lent),
            *("--file", str(ROOT / "infra/docker" / f"{name}.Dockerfile"), "--tag", tag, str(ROOT)),
        )
        return tag

    def told(self, image: str) -> dict[str, Any]:
        """What an image says of itself: User, Env, Entrypoint, Cmd, Healthcheck."""
        found: dict[str, Any] = json.loads(self._call("inspect", "--type", "image", image))["Docker"]["config"]
        return found

    def megabytes(self, image: str) -> float:
        """An image's size without its base."""
        listed = json.loads(self._call("images", "--json"))
        sizes = {name.rpartition(":")[0]: each["size"] for each in listed for name in each.get("names") or ()}
        return _megabytes(sizes[image]) - _megabytes(sizes[BASE.rpartition(":")[0]])

    @contextmanager
    def container(self, image: str) -> Iterator["Container"]:
        """A container of an image."""
        name = self._call("from", "--pull-never", image)
        container = Container(self._buildah, name, self.told(image))
        try:
            yield container
        finally:
            container.end()
            self._call("rm", name)

    def remove(self) -> None:
        """Remove all containers and images."""
        self._call("rm", "--all")
        self._call("rmi", "--all", "--force")
        shutil.rmtree(self._folder)

    def _call(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._buildah, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"buildah {shlex.join(arguments)}:\n{(done.stdout + done.stderr)[-4000:]}"
        return done.stdout.strip()


class Container:
    """A container whose processes run as the image says: as its user, in its folder, with its variables."""

    def __init__(self, buildah: list[str], name: str, told: Mapping[str, Any]) -> None:
        self._buildah = buildah
        self._name = name
        self._mark = uuid.uuid4().hex
        self.told = told
        self.started: list[subprocess.Popen[bytes]] = []

    def command(
        self, *command: str, volumes: Mapping[Path, str] | None = None, environment: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command that runs one in it; the network is the machine's."""
        mounts = [f"--volume={here}:{there}" for here, there in (volumes or {}).items()]
        variables = [f"--env={name}={value}" for name, value in (environment or {}).items()]
        mark = f"--env=TEST_CONTAINER={self._mark}"
        return [*self._buildah, "run", "--isolation", "chroot", *mounts, *variables, mark, self._name, "--", *command]

    def run(self, *command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        told = self.command(*command, **more)
        return subprocess.run(told, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)

    def start(self, *arguments: str, log: Path, **more: Any) -> subprocess.Popen[bytes]:
        """Start what the image starts, with other arguments if given."""
        entrypoint, command = self.told.get("Entrypoint") or [], self.told.get("Cmd") or []
        with log.open("wb") as output:
            told = self.command(*entrypoint, *(arguments or command), **more)
            process = subprocess.Popen(told, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.started.append(process)
        return process

    def processes(self) -> list[psutil.Process]:
        """What runs in it."""
        found = []
        for each in psutil.process_iter():
            try:
                if each.environ().get("TEST_CONTAINER") == self._mark:
                    found.append(each)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def end(self) -> None:
        """Kill what still runs in it."""

        def none_left() -> bool:
            for each in (left := self.processes()):
                each.kill()
            return not left

        assert eventually(none_left)
        for process in self.started:
            process.kill()
            process.wait()


def _megabytes(size: str) -> float:
    """A size as Buildah writes it, such as ``404 MB``."""
    number, unit = size.split()
    return float(number) * {"KB": 0.001, "MB": 1, "GB": 1000}[unit]
