"""Rows that come again are known, and rows that resemble each other by nature are not."""

import numpy as np
import pandas as pd
import pytest

from mlops.core.columns import factorized
from mlops.core.fingerprint import Fingerprint, RowHashes, duplicated, frozen, overlap


def rows(count: int, seed: int, values: int = 10**6) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame({"x": random.integers(0, values, count) / 7, "town": random.choice(["Ulm", "Bonn"], count)})


def printed(frame: pd.DataFrame) -> Fingerprint:
    hashes = RowHashes(len(frame))
    hashes.add_numbers(frame["x"].to_numpy(), 0)
    hashes.add_codes(*factorized(frame["town"]))
    return hashes.fingerprint()


FIRST, SECOND = rows(1000, 0), rows(1000, 1)


def test_a_window_that_comes_again_is_frozen() -> None:
    assert frozen(printed(FIRST), [printed(FIRST)]) == 1.0
    assert frozen(printed(SECOND), [printed(FIRST)]) is None
    assert frozen(printed(FIRST), []) is None


def test_a_part_that_comes_again_is_frozen_where_windows_did_not_overlap_before() -> None:
    half = printed(pd.concat([SECOND.head(500), rows(500, 2)]))
    assert frozen(half, [printed(FIRST), printed(SECOND)]) == pytest.approx(1 / 3, abs=0.2)
    assert frozen(half, [printed(SECOND)]) is None  # nothing tells whether that is usual
    nightly = [printed(pd.concat([FIRST.head(900), rows(100, seed)])) for seed in (3, 4, 5)]
    assert frozen(nightly[2], nightly[:2]) is None


def test_constant_rows_are_not_frozen() -> None:
    same = pd.DataFrame({"x": [1.0] * 200, "town": ["Ulm"] * 200})
    assert frozen(printed(same), [printed(same)]) is None


def test_overlap_is_estimated() -> None:
    many = rows(20_000, 5)
    shared = overlap(printed(many.head(15_000)), printed(many.tail(15_000)))
    assert shared == pytest.approx(0.5, abs=0.25)


def test_a_batch_sent_twice_is_found_in_any_order() -> None:
    twice = pd.concat([SECOND, SECOND.head(200)]).sample(frac=1, random_state=0)
    assert duplicated(printed(twice), printed(FIRST), []) == pytest.approx(1 / 6, abs=0.01)
    assert duplicated(printed(SECOND), printed(FIRST), []) is None


def test_rows_that_repeat_by_nature_are_no_batch_sent_twice() -> None:
    few = printed(rows(1000, 0, values=50))
    assert duplicated(printed(rows(1000, 1, values=50)), few, []) is None
    usual = printed(pd.concat([SECOND, SECOND.head(150)]))
    assert duplicated(printed(pd.concat([FIRST, FIRST.head(200)])), printed(rows(2000, 9)), [usual]) is None


def test_missing_and_signed_zero_are_one_value_each() -> None:
    one, other = RowHashes(3), RowHashes(3)
    one.add_numbers(np.array([0.0, np.nan, 1.0]), 0)
    other.add_numbers(np.array([-0.0, -np.nan, 1.0]), 0)
    assert one.fingerprint() == other.fingerprint()
