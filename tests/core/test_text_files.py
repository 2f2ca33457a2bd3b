"""What is wrong with the bytes of a file is said; what RFC 4180 allows is not touched."""

import re

import numpy as np
import pytest

from mlops.core import text_files
from mlops.core.text_files import fault, longest_line


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n1,2\n",
        b"a;b,c,d\n1,2,3\n",
        b'a,b\n"1","2"\n',
        b'\xef\xbb\xbf"a","b"\r\n"1","x ""y"" z"\r\n',
        b'a,b\n"","two\nlines"\n',
        b'a,b\n"""",1\n1,""',
        b"a,b\r1,2\r",
        b"{a},b\n1,2\n",
        b"<5,>5\n1,2\n",
        b"PKW,b\n1,2\n",
    ],
)
def test_what_may_be_a_table_is_left_alone(data: bytes) -> None:
    assert fault(data) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'a,b\n1,5" pipe\n2,6" pipe\n', "line 2 has a stray quote"),
        (b'a,b\n1, "x"\n', "line 2 has a stray quote"),
        (b'a,b\n1,2\n1,"x" y\n', "line 3 has a stray quote"),
        (b'a,b\n1,"x\n', "opened and never closed"),
        (b"a;b\n1,5;2,5\n", "no comma, but 1 times a semicolon"),
        (b"a,x;b;c\n1;2;3\n", "1 commas, but 2 times a semicolon"),
        (b'[{"a": 1}]', "JSON"),
        (b'{"a": 1}\n{"a": 2}\n', "JSON"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "XML"),
        (b"a\x00,\x00b\x00\n\x00", "line 1 holds a NUL byte"),
        ("a,b\n".encode("utf-16-be"), "NUL byte"),
        (b"\xfe\xff\x00a", "UTF-16"),
    ],
)
def test_what_is_none_is_told(data: bytes, said: str) -> None:
    assert said in str(fault(data))


FIELD = r'(?:"(?:[^"]|"")*"|[^",\n]*)'
GRAMMAR = re.compile(f"{FIELD}(?:[,\n]{FIELD})*")
"""RFC 4180, but for the number of fields."""


def test_quotes_are_faults_where_the_grammar_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "CHUNK", 7)
    choose, valid = np.random.default_rng(0), 0
    for _ in range(5000):
        text = "x,y\n" + "".join(choose.choice(list('a"",\n'), choose.integers(1, 14)))
        fits = GRAMMAR.fullmatch(text) is not None
        assert (fault(text.encode()) is None) == fits, repr(text)
        valid += fits
    assert 500 < valid < 4500


def test_the_longest_line_is_found() -> None:
    assert longest_line(b"a\nbbbb\ncc\ndddd\n") == (2, 5)
