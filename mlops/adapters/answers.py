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
    """What the log of an environment gains from now on; each object is read and counted once.

    Args:
        store: holds the log.
        model: the model.
        environment: the environment.
        keep_rows: keep what is read, for ``frame``; a long step on a busy service has millions of rows.
    """

    def __init__(self, store: Store, model: str, environment: str, *, keep_rows: bool = False) -> None:
        self._store = store
        self._prefix = f"{model}/predictions/"
        self._environment = environment
        self._seen = set(self._keys())
        self._keep_rows = keep_rows
        self._tables: list[pa.Table] = []
        self._counted: Counter[tuple[int, str, str]] = Counter()

    def read(self) -> None:
        """Read what is new in the log."""
        for key in sorted(set(self._keys()) - self._seen):
            table = read_object(self._store, key)
            counts = table.group_by(["_generation", "_role", "_predicted"]).aggregate([([], "count_all")])
            for row in counts.to_pylist():
                self._counted[row["_generation"], row["_role"], row["_predicted"]] += row["count_all"]
            if self._keep_rows:
                self._tables.append(table)
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
        counted = self._counted
        found = sorted({predicted for each, role, predicted in counted if each == generation and role != "shadow"})
        return {each: (counted[generation, "champion", each], counted[generation, "canary", each]) for each in found}

    def _keys(self) -> list[str]:
        # A day's log may have a hundred thousand objects, so only those are listed that were written lately, by a clock
        # that may be ahead. Rows are filed under their own day, also those that midnight overtakes.
        now = datetime.now(UTC)
        times = [now + timedelta(minutes=minutes) for minutes in (-60, 0, 5)]
        hours = sorted({f"{time:%Y%m%dT%H}" for time in times})
        folders = sorted({f"{self._prefix}date={time.date()}/" for time in times})
        prefixes = [f"{folder}{self._environment}-{hour}" for folder in folders for hour in hours]
        return [key for prefix in prefixes for key in self._store.list(prefix)]
