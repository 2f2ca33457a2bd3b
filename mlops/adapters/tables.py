"""A table that a user names: CSV or Parquet from the file system, as text, or a clear reason why not."""

from pathlib import Path

from pandas import DataFrame

from mlops.core.quality import FileError, read_csv, read_parquet

PARQUET = b"PAR1"


def read_table(file: Path) -> DataFrame:
    """Read a file as text, an empty field or null as ``""``; Parquet is known by its name or first bytes.

    Raises:
        FileError: it cannot be read, or is no table; the message names the file, the place and what to do.
    """
    data = _read(file)
    if file.suffix.lower() in (".parquet", ".pq") or data.startswith(PARQUET):
        return read_parquet(data, str(file))
    return read_csv(data, str(file))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise FileError(str(file), "there is no such file") from None
    except IsADirectoryError:
        raise FileError(str(file), "it is a folder; name one CSV or Parquet file") from None
    except PermissionError:
        raise FileError(str(file), "you may not read it; change its permissions or run as its owner") from None
    except OSError as error:
        raise FileError(str(file), f"it cannot be read: {error.strerror or error}") from None
