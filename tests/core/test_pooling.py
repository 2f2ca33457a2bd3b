"""Small windows are pooled in order, each once."""

import pytest

from mlops.core.windows import pooled


@pytest.mark.parametrize(
    ("rows", "pools"),
    [
        ([], ()),
        ([150, 200], ((0, 1), (1, 2))),
        ([30, 80, 100, 40], ((0, 2), (2, 3))),
        ([40, 40], ()),
        ([0, 0, 100], ((0, 3),)),
        ([60, 60, 60, 60], ((0, 2), (2, 4))),
    ],
)
def test_windows_are_pooled(rows: list[int], pools: tuple[tuple[int, int], ...]) -> None:
    assert pooled(rows, 100) == pools


def test_without_a_minimum_every_window_that_has_rows_stands_alone() -> None:
    assert pooled([5, 0, 3], 0) == ((0, 1), (1, 3))
