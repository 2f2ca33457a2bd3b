"""What is wrong with the bytes of a file that should be a comma-separated text, before anything reads it."""

import csv
import io
import re

import numpy as np

KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"ARROW1", "an Arrow file: write it as Parquet"),
    (b"FEA1", "a Feather file: write it as Parquet"),
    (b"ORC", "an ORC file: write it as Parquet"),
    (b"Obj\x01", "an Avro file: write it as Parquet"),
    (b"SQLite format 3", "a SQLite database: export the table as CSV"),
    (b"%PDF", "a PDF document: export its table as CSV"),
    (b"\xff\xfe", "not UTF-8 but UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "not UTF-8 but UTF-16; save it as UTF-8"),
)
"""Beginnings of files that are known and are no CSV."""
MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:(<!doctype|<html|<\?xml)|[\[{]\s*[\[{\"])", re.IGNORECASE)
DELIMITERS = {";": "semicolon", "\t": "tab", "|": "vertical bar"}
NEIGHBOURS = np.frombuffer(b',\n\r"', np.uint8)
"""What stands outside a quote that begins or ends a value; a second quote, where it belongs to the value."""
MARK = b"\xef\xbb\xbf"
HEADER = 1 << 20
"""Bytes in which a header ends."""
CHUNK = 1 << 24
QUOTE = ord('"')


def fault(data: bytes) -> str | None:
    """Say why bytes are no CSV file (UTF-8, commas, a header line), as the end of a sentence; None if they may be one.

    Fields are not counted here; what is found would silently change rows or columns, or read as nonsense.
    """
    for beginning, what in KINDS:
        if data.startswith(beginning):
            return what if what.startswith("not") else f"no CSV file but {what}"
    if (found := MARKUP.match(data)) is not None:
        return f"no CSV file but {'a web page or XML' if found[1] else 'JSON'}; give CSV or Parquet"
    return _no_text(data) or _delimiter(data) or _stray_quote(data)


def header(data: bytes) -> list[str]:
    """Read the names in the first line that is not empty.

    Raises:
        csv.Error: a name is longer than 131,072 characters.
    """
    text = data[:HEADER].decode("utf-8-sig", errors="replace")
    return next((row for row in csv.reader(io.StringIO(text, newline="")) if row), [])


def line_of(data: bytes, place: int) -> int:
    """The number of the line that holds a byte, 1 for the first one."""
    return data.count(b"\n", 0, place) + 1


def longest_line(data: bytes) -> tuple[int, int]:
    """The number of the longest line, and its bytes."""
    length, number = max((len(line), -number) for number, line in enumerate(io.BytesIO(data), 1))
    return -number, length


def _no_text(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{data[error.start]:02x} in line {line_of(data, error.start)}; save it as UTF-8"
    if not text.strip():
        return "the file is empty"
    if (place := data.find(b"\0")) >= 0:
        return f"line {line_of(data, place)} holds a NUL byte: the file is damaged, or UTF-16; send it again as UTF-8"
    return None


def _delimiter(data: bytes) -> str | None:
    """Say which delimiter the header seems to have when that is no comma."""
    line = re.split(r"[\r\n]", data[:HEADER].decode("utf-8-sig", errors="replace").strip(), maxsplit=1)[0]
    for delimiter, called in DELIMITERS.items():
        if line.count(delimiter) > line.count(","):
            commas = f"{line.count(',')} commas" if "," in line else "no comma"
            return (
                f"the header has {commas}, but {line.count(delimiter)} times a {called}: is that the delimiter?"
                " Save the file with commas"
            )
    return None


def _stray_quote(data: bytes) -> str | None:
    """Find a quote that neither begins nor ends a value: read on, it would swallow delimiters and rows.

    Quotes open and close in turn; two at once inside a value are one that belongs to it.
    """
    opened, end = False, len(data)
    for start in range(0, end, CHUNK):
        chunk = np.frombuffer(data, np.uint8, min(CHUNK, end - start), start)
        quotes = np.flatnonzero(chunk == QUOTE) + start
        if not len(quotes):
            continue
        opening = (np.arange(len(quotes)) % 2 == 0) ^ opened
        whole = np.frombuffer(data, np.uint8)
        before = np.isin(whole[np.maximum(quotes - 1, 0)], NEIGHBOURS) | (quotes == 0)
        if data.startswith(MARK):
            before |= quotes == len(MARK)
        after = np.isin(whole[np.minimum(quotes + 1, end - 1)], NEIGHBOURS) | (quotes == end - 1)
        wrong = np.flatnonzero(~np.where(opening, before, after))
        if len(wrong):
            line = line_of(data, int(quotes[wrong[0]]))
            return f'line {line} has a stray quote ("): write a quote inside a value twice, and quote the value'
        opened ^= len(quotes) % 2 == 1
    if opened:
        return 'a quote (") is opened and never closed; write a quote inside a value twice'
    return None
