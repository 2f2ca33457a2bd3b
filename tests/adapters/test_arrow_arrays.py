"""Texts in compact forms are sequences of texts like any other."""

import numpy as np
import pytest

from mlops.adapters.arrow_arrays import Coded, Numbered


def test_the_ids_of_a_batch_are_a_sequence_of_texts() -> None:
    ids = Numbered("a", 3)
    assert list(ids) == ["a.0", "a.1", "a.2"] == ids[:]
    assert (ids[-1], ids[1:2], len(ids), "a.2" in ids, "a.3" in ids) == ("a.2", ["a.1"], 3, True, False)
    with pytest.raises(IndexError):
        ids[3]


def test_codes_are_a_sequence_of_texts() -> None:
    codes = Coded(("no", "yes"), np.array([1, 0, 1]))
    assert list(codes) == ["yes", "no", "yes"] == codes[:]
    assert (codes[1], codes[-1], codes[1:2], len(codes)) == ("no", "yes", ["no"], 3)
