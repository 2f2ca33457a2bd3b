"""Why a request is refused, in the form that the client is told, and why a bundle does not serve."""

from collections.abc import Sequence

import msgspec

MAX_FIELDS = 100
"""So many wrong fields are listed; the rest is only counted."""


class ModelError(Exception):
    """A bundle cannot serve: it does not load, or does not answer as it must."""


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field that cannot be used, the record it is in (batches only), and the reason."""

    field: str
    reason: str
    index: int | None = None

    def __str__(self) -> str:
        place = "" if self.index is None else f"record {self.index}: "
        return f"{place}{self.field}: {self.reason}"


class Refused(Exception):
    """A request that gets no answer: the HTTP status and why."""

    def __init__(self, status: int, error: str, fields: Sequence[FieldError] = ()) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.fields = fields

    def body(self) -> dict[str, object]:
        """The JSON body of the answer."""
        return {"error": self.error, "fields": self.fields[:MAX_FIELDS]} if self.fields else {"error": self.error}


class TooSlow(Refused):
    """A request that was not answered in its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(503, f"not answered within {seconds:g} s; send fewer records at once, or try again later")


def unusable(fields: Sequence[FieldError]) -> Refused:
    """Refuse a request for its fields, the first of them named in the message."""
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return Refused(422, f"{fields[0]}{more}", fields)
