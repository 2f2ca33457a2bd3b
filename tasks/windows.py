"""What the tasks of the loop read: windows, their rows, their standing verdicts, and the alarms among them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from mlops.adapters.ledger import Entry
from mlops.adapters.prediction_log import read_feedback, read_predictions
from mlops.adapters.serving import read_state
from mlops.core import rivals, windows
from mlops.core.labels import with_labels
from mlops.core.verdict import Verdict
from mlops.core.windows import Window
from tasks.context import ModelContext
from tasks.network import Refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """A window with its standing verdict."""

    window: Window
    verdict: Verdict
    entry: Entry

    @property
    def first(self) -> datetime:
        """The time of its first row, by the model's clock."""
        return datetime.fromisoformat(self.entry.numbers["first"])

    @property
    def requested(self) -> datetime:
        """When the first of its rows was asked for."""
        return datetime.fromisoformat(self.entry.numbers["requested"])

    @property
    def digest(self) -> str:
        """The bundle that answered it."""
        return str(self.entry.numbers["digest"])


@dataclass(frozen=True)
class Occasion:
    """What asked for a retraining: an alarm, or a refresh."""

    judged: Judged
    onset: Judged
    """Where the loss that an alarm is about began; of a refresh, the first window since the last training."""

    @property
    def name(self) -> str:
        """The window that asks."""
        return self.judged.window.name

    @property
    def refresh(self) -> bool:
        """Whether nothing alarmed, and a fresh model was tried all the same."""
        return self.judged.verdict.verdict != "retrain"

    @property
    def moment(self) -> datetime:
        """The time of the first row since the onset, by the model's clock."""
        return self.onset.first


def judged_windows(context: ModelContext) -> list[Judged]:
    """The windows with a standing verdict, oldest first."""
    found = [
        Judged(
            msgspec.convert(entry.numbers["window"], Window),
            msgspec.convert(entry.numbers["verdict"], Verdict),
            entry,
        )
        for entry in context.ledger.entries("verdict")
    ]
    return sorted(found, key=lambda judged: (judged.window.start, judged.window.last))


def find_alarm(context: ModelContext, name: str) -> Occasion:
    """Look an alarm up by its window; a refresh is one whose onset is the first window since the last training.

    Raises:
        Refused: the ledger knows no such verdict, or it is not ``retrain`` and asks for no refresh.
    """
    history = judged_windows(context)
    at = next((at for at, judged in enumerate(history) if judged.window.name == name), None)
    refresh = context.ledger.find("refresh", name)
    if at is not None and refresh is not None and refresh.decision == "due":
        onset_name = refresh.numbers["onset"]
        return Occasion(history[at], next(judged for judged in history if judged.window.name == onset_name))
    if at is None or history[at].verdict.verdict != "retrain":
        found = "no verdict" if at is None else f"the verdict {history[at].verdict.verdict}"
        model = context.spec.name
        raise Refused(f"alarm {name!r}: the ledger of {model} holds {found} under this name, so nothing is retrained")
    version = history[at].verdict.version
    same = [each for each in history[: at + 1] if each.verdict.version == version and each.verdict.performance]
    onset = rivals.beginning([judged.verdict for judged in same], context.spec.drift.of)
    return Occasion(history[at], same[onset])


def asked(context: ModelContext) -> list[Occasion]:
    """Everything that asked for a retraining, alarms that stand and refreshes, oldest first."""
    names = {entry.subject for entry in context.ledger.decided("refresh", "due")}
    names |= {each.window.name for each in standing_alarms(context)}
    return [find_alarm(context, each.window.name) for each in judged_windows(context) if each.window.name in names]


def standing_alarms(context: ModelContext) -> list[Judged]:
    """The alarms that were taken up, and those about the version that serves, oldest first.

    Labels that come late go on telling of a version after another one has taken its place: nothing is retrained for
    that, since the windows of the new one will tell how it does.
    """
    taken = {entry.numbers.get("alarm") for kind in ("claim", "retraining") for entry in context.ledger.entries(kind)}
    found = read_state(context.store, context.spec.name, "prod")
    serving = found.state.champion.version if found else None
    return [
        each
        for each in judged_windows(context)
        if each.verdict.verdict == "retrain" and (each.window.name in taken or serving in (None, each.verdict.version))
    ]


def newest_alarm(context: ModelContext) -> Occasion | None:
    """The last alarm that stands; those before it are superseded."""
    found = standing_alarms(context)
    return find_alarm(context, found[-1].window.name) if found else None


def retrainings_for(context: ModelContext, alarm: str) -> list[Entry]:
    """What the retrainings for an alarm came to, the first one and its follow-ups, oldest first."""
    return [entry for entry in context.ledger.entries("retraining") if entry.numbers.get("alarm") == alarm]


def due_windows(context: ModelContext, alarm: Occasion) -> list[Entry]:
    """The windows at which an alarm's follow-up was due, oldest first."""
    due = context.ledger.decided("follow_up", "due")
    return [entry for entry in due if entry.numbers["alarm"] == alarm.name]


def unjudged_since(context: ModelContext) -> date | None:
    """The date (UTC) since which the log may hold rows of windows without a standing verdict; none: all of it.

    The log is by date of request. Predictions made longer before their event than a window lasts are missed.
    """
    history = judged_windows(context)
    stand = {judged.window.name for judged in history}
    while history and history[-1].verdict.waits_for == "rows":
        history.pop()  # its rows are judged again with the next window's
    if not history:
        return None
    # A data incident stands at once, also after windows that still wait for their labels.
    waiting = [
        datetime.fromisoformat(entry.numbers["requested"])
        for entry in context.ledger.entries("provisional")
        if entry.subject not in stand
    ]
    return (min([history[-1].requested, *waiting]) - timedelta(days=context.spec.drift.window_days + 1)).date()


def answered_rows(context: ModelContext, since: date | None) -> "pd.DataFrame":
    """Answered PROD predictions since a date, with their labels."""
    store, model = context.store, context.spec.name
    predictions = read_predictions(store, model, "prod", since, schema=context.spec.data).to_pandas()
    return with_labels(predictions, read_feedback(store, model, since).to_pandas(), context.spec.data)


def judged_rows(context: ModelContext, chosen: list[Judged]) -> "pd.DataFrame":
    """The rows of judged windows that the judged versions answered, those that have come late included."""
    import pandas as pd

    since = min((judged.requested for judged in chosen), default=None)
    rows = answered_rows(context, (since - timedelta(days=1)).date() if since else None)
    parts = [windows.inside(rows, judged.window, context.spec.data) for judged in chosen]
    versions = [judged.verdict.version for judged in chosen]
    own = [part[part["_version"] == version] for part, version in zip(parts, versions, strict=True)]
    return pd.concat([rows.head(0), *own], ignore_index=True)


def window_rows(context: ModelContext, *chosen: Window) -> "pd.DataFrame":
    """The rows of windows that belong together, those that have come late included."""
    import pandas as pd

    rows = answered_rows(context, unjudged_since(context))
    return pd.concat([windows.inside(rows, window, context.spec.data) for window in chosen], ignore_index=True)


def logged_answers(rows: "pd.DataFrame") -> "np.ndarray":
    """The probabilities that were logged as answers [rows, classes]."""
    import numpy as np

    return np.array(rows["_probabilities"].to_list(), dtype=float)


def now_or(until: datetime | None) -> datetime:
    """The moment by which windows are over and labels are old: now unless given.

    Raises:
        Refused: it has no offset from UTC.
    """
    if until is not None and until.tzinfo is None:
        raise Refused(f"until {until.isoformat()} has no offset from UTC; write it as {until.isoformat()}Z")
    return until or datetime.now(UTC)
