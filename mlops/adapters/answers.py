"""The answers of one generation, read from the prediction log while it is written."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlops.adapters.prediction_log import read_object
from mlops.adapters.store import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class LoggedAnswers:
    """What the log of an environment gains from now on; each object is read once."""

    def __init__(self, store: Store, model: str, environment: str) -> None:
        self._store = store
        self._prefix = f"{model}/predictions/"
        self._environment = environment
        self._seen = set(self._keys())
        self._tables: list[pa.Table] = []

    def read(self) -> None:
        """Read what is new in the log."""
        for key in sorted(set(self._keys()) - self._seen):
            self._tables.append(read_object(self._store, key))
            self._seen.add(key)

    def frame(self, generation: int) -> "pd.DataFrame | None":
        """The rows of a generation as they are logged; none when there are no rows at all."""
        import pyarrow as pa

        if not self._tables:
            return None
        frame: pd.DataFrame = pa.concat_tables(self._tables, promote_options="default").to_pandas()
        return frame[frame["_generation"] == generation]

    def classes(self, generation: int) -> dict[str, tuple[int, int]]:
        """How often the champion and the canary of a generation answered each class."""
        counted: Counter[tuple[str, str]] = Counter()
        for table in self._tables:
            names = ("_generation", "_role", "_predicted")
            rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
            counted.update((role, predicted) for each, role, predicted in rows if each == generation)
        found = sorted({predicted for _, predicted in counted})
        return {each: (counted["champion", each], counted["canary", each]) for each in found}

    def _keys(self) -> list[str]:
        # Rows are filed under their own day, also those that midnight overtakes.
        days = [(datetime.now(UTC) - timedelta(days=back)).date() for back in (1, 0)]
        return [key for day in days for key in self._store.list(f"{self._prefix}date={day}/{self._environment}-")]
