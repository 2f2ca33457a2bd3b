"""What a container image is on this machine: the checkout's Dockerfile says how it starts, its Python runs it."""

import re
import shlex
import sys
from pathlib import Path

import msgspec

CHECKOUT = Path(__file__).parents[2]


class Image(msgspec.Struct, frozen=True):
    """How an image starts when whoever runs it says nothing else."""

    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command."""
        return (*self.entrypoint, *self.arguments)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A process that stands for a container."""

    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    made: tuple[Path, ...] = ()
    """Folders of the image that stand here for those in the container."""


# What others publish and container groups of ours may use.
PUBLIC = {
    "python": Image(("python", "-V")),
    "caddy": Image(("caddy",)),
}
PROGRAMS = {
    "python": [sys.executable],
    "python3": [sys.executable],
    "caddy": [sys.executable, "-m", "infra.azure_twin.caddy"],
}
"""Programs of the images, by the names that commands call them."""


def find(reference: str) -> Image | None:
    """The image of ``[registry/]repository[:tag]``; ``mlops-x`` is what ``infra/docker/x.Dockerfile`` builds."""
    name = repository(reference).rpartition("/")[2]
    file = CHECKOUT / "infra" / "docker" / f"{name.removeprefix('mlops-')}.Dockerfile"
    if name.startswith("mlops-") and file.is_file():
        return read_dockerfile(file.read_text("utf-8"))
    return PUBLIC.get(name)


def repository(reference: str) -> str:
    """The reference without registry, tag and digest."""
    first, slash, rest = reference.partition("/")
    named = rest if slash and ("." in first or ":" in first) else reference
    return named.partition("@")[0].partition(":")[0]


def read_dockerfile(text: str) -> Image:
    """Read what the last stage of a Dockerfile says about the start; commands in JSON form."""
    environment: dict[str, str] = {}
    entrypoint: list[str] = []
    command: list[str] = []
    workdir = "/"
    for line in re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines():
        word, _, rest = line.strip().partition(" ")
        match word.upper():
            case "FROM":
                environment, entrypoint, command, workdir = {}, [], [], "/"
            case "ENV":
                environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            case "WORKDIR":
                workdir = rest.strip()
            case "ENTRYPOINT":
                entrypoint = msgspec.json.decode(rest, type=list[str])
            case "CMD":
                command = msgspec.json.decode(rest, type=list[str])
    return Image(tuple(command), environment, workdir, tuple(entrypoint))


def plan(
    image: Image, command: list[str], environment: dict[str, str], mounts: dict[str, Path], address: str, folder: Path
) -> Plan:
    """What to start for a container.

    The image's working directory is the checkout, mounted volumes and the image's other absolute
    folders are folders of the group, and every address means the group's own on loopback.
    """
    places = {path: str(local) for path, local in mounts.items()}
    if image.workdir != "/":
        places[image.workdir] = str(CHECKOUT)
    own = {**image.environment, **environment}
    for value in own.values():
        if re.match(r"/(var|run|data|mnt|home|tmp|opt)(/|$)", value) and not _placed(value, places):
            places[value] = str(folder / "root" / value.strip("/"))

    def translate(text: str) -> str:
        return address if text == "0.0.0.0" else _placed(text, places) or text  # noqa: S104 - never bound

    words = [translate(word) for word in command or image.command]
    program = PROGRAMS.get(words[0].rpartition("/")[2], words[:1]) if words else []
    return Plan(
        command=(*program, *words[1:]),
        environment={name: translate(value) for name, value in own.items()},
        folder=CHECKOUT,
        made=tuple(Path(local) for local in places.values() if local.startswith(f"{folder}/root/")),
    )


def _placed(text: str, places: dict[str, str]) -> str:
    """The local path of a path in the container, or nothing."""
    for path in sorted(places, key=len, reverse=True):
        if text == path or text.startswith(path.rstrip("/") + "/"):
            return places[path] + text[len(path.rstrip("/")) :]
    return ""
