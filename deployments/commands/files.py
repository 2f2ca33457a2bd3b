"""What the commands on files share: specs by name or path, results as JSON."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops.spec import ModelSpec


def open_spec(text: str | None) -> "ModelSpec | None":
    """Read a spec by its path, or by the name of a model.

    Raises:
        SpecError, SettingsError: there is none, or it cannot be used.
    """
    if text is None:
        return None
    from mlops import settings, spec

    file = Path(text)
    if file.suffix not in (".yaml", ".yml"):
        return spec.load(settings.load().models_dir, text)
    try:
        return spec.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise spec.SpecError(f"{file}: it cannot be read: {error.strerror}") from None


def refuse_unwritable(file: str | None) -> None:
    """Raise a ``FileError`` where a result could not be written, before the work that gives it."""
    import os

    from mlops.core.quality import FileError

    if file in (None, "-"):
        return
    path = Path(str(file))
    if path.is_dir():
        raise FileError(str(file), "it cannot be written: it is a folder; name a file")
    if not path.absolute().parent.is_dir():
        raise FileError(str(file), f"it cannot be written: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise FileError(str(file), "it cannot be written: you may not; name another place")


def write(file: str | None, data: bytes) -> None:
    """Write a result to a file, or to standard output for ``-``.

    Raises:
        FileError: it cannot be written.
    """
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    elif file:
        from mlops.core.quality import FileError

        try:
            Path(file).write_bytes(data)
        except OSError as error:
            raise FileError(file, f"it cannot be written: {error.strerror}") from None


def encode(value: Any) -> bytes:
    """Write JSON for people and programs; numbers that JSON lacks become null."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
