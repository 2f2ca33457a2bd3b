"""Column by column gives what NumPy gives row by row, bit for bit."""

import numpy as np
import pytest

from mlops.core.across import row_argmax, row_finite, row_max, row_sum


@pytest.mark.parametrize("columns", [1, 2, 3, 5, 7, 8, 40])
def test_reductions_are_numpys_own(columns: int) -> None:
    random = np.random.default_rng(columns)
    values = random.normal(size=(997, columns)).round(1)  # with ties
    assert (row_sum(values / 3) == (values / 3).sum(axis=1)).all()
    assert (row_argmax(values) == values.argmax(axis=1)).all()
    values[random.random(values.shape) < 0.1] = np.nan
    values[random.random(values.shape) < 0.1] = np.inf
    assert np.array_equal(row_max(values), values.max(axis=1), equal_nan=True)
    assert (row_finite(values) == np.isfinite(values).all(axis=1)).all()


def test_no_rows_and_no_columns() -> None:
    assert len(row_argmax(np.empty((0, 3)))) == 0
    assert row_sum(np.empty((4, 0))).tolist() == [0.0] * 4
