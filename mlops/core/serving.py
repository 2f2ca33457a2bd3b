"""The serving state: which bundle answers in one environment. The one thing a release changes."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Environment = Literal["uat", "prod"]
ENVIRONMENTS: tuple[Environment, ...] = ("uat", "prod")


class Served(msgspec.Struct, frozen=True):
    """A bundle by its digest, and the registry version that it is."""

    digest: str
    version: str


class ServingState(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of ``<model>/serving/<environment>.json``; each write adds one."""

    generation: int
    champion: Served
    shadow: Served | None = None
    """Scored beside the champion; its answers are logged and never returned."""
    canary: Served | None = None
    canary_share: float = 0.0
    """Share of requests that the canary answers, by a hash of the request id."""
    release: str = ""
    """The flow run that wrote this: a release's, or a rollback's."""


def state_key(model: str, environment: str) -> str:
    """The store key of a serving state."""
    return f"{model}/serving/{environment}.json"


def champion_before(released: Sequence[Served], champion: Served) -> Served | None:
    """The version released last before a champion was (most recently), if there was one.

    Args:
        released: versions in the order of their releases.
        champion: what answers now.
    """
    places = [place for place, each in enumerate(released) if each.digest == champion.digest]
    earlier = released[: places[-1]] if places else released
    return next((each for each in reversed(earlier) if each.digest != champion.digest), None)
