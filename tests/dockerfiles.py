"""What the Dockerfiles of infra/docker say, read without a container engine."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "infra/docker"


def instructions(image: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order, continuation lines joined."""
    text = (DOCKER / f"{image}.Dockerfile").read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined)]


def only(image: str, name: str) -> str:
    (found,) = (rest for instruction, rest in instructions(image) if instruction == name)
    return found


def copied(image: str) -> Iterator[tuple[Path, Path]]:
    """Sources in the checkout, and where they come to be below the working directory."""
    for name, rest in instructions(image):
        *sources, destination = shlex.split(rest)
        if name == "COPY" and not destination.startswith("/tmp/"):  # noqa: S108 - The requirements, for pip.
            for source in sources:
                assert destination.endswith("/")
                yield ROOT / source, Path(destination) / ("" if source.endswith("/") else Path(source).name)


def lay_out(image: str, app: Path) -> Path:
    """Copy what the image copies."""
    for source, destination in copied(image):
        target = app / destination
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return app


def pins(file: Path) -> set[str]:
    return {line.split()[0] for line in file.read_text("utf-8").splitlines() if "==" in line and line[0] != " "}
