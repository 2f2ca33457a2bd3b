"""Findings: what one test found in one column."""

from typing import Literal

import msgspec

Kind = Literal[
    "ks", "location", "scale", "chi2", "missing",  # one input
    "joint", "pair",  # inputs together
    "confidence", "classes",  # predictions
    "loss", "accuracy", "surprise", "residual", "labels",  # labels
    "absent", "all_missing", "unseen", "stuck", "unit", "frozen", "duplicated",  # broken data
]  # fmt: skip
INCIDENTS: frozenset[Kind] = frozenset({"absent", "all_missing", "unseen", "stuck", "unit", "frozen", "duplicated"})
ALL_COLUMNS = "all columns"
"""Stands for the column where a finding is about rows as a whole."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one test found in one column; kinds in ``INCIDENTS`` say that the data are broken."""

    column: str
    kind: Kind
    statistic: float
    effect: float
    """By kind. ``ks`` D; ``chi2``, ``classes``, ``confidence``, ``labels`` total variation; ``location`` standard
    deviations; ``scale`` change of the variance as a share; ``missing`` change of a share; ``pair`` change of
    a correlation; ``joint`` area under the ROC curve of telling window from training rows; ``loss``, ``surprise``
    nats a row; ``accuracy``, ``residual`` a share; ``unit`` its factor; the other incidents a share of rows."""
    p_value: float | None = None
    drifted: bool = True
    partner: str = ""
    """The other column of a ``pair``."""
    slice: str = ""
    """Which rows of ``column`` a test of labels is about, such as ``above 17 to 23`` or ``Ulm``; empty: all rows."""
    windows: int = 1
    """How many windows a test is about together, the last one this."""
    calibrated: bool = False
    """Whether the threshold came from past windows."""
    before: dict[str, float] = {}
    now: dict[str, float] = {}
    """What the page shows of a drifted column, in its own unit: mean and quantiles, or shares of values."""
