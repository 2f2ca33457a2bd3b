"""The steps of a release at which it is killed: each is known by what the step before has just written."""

from collections.abc import Callable
from typing import NamedTuple

from mlops.adapters.registry import CHAMPION
from mlops.adapters.serving import read_state
from mlops.core.serving import ServingState
from tests.e2e.iris import Iris

Reached = Callable[[Iris, str, str], object]
"""Whether a step is reached, by flow run and version."""


class Kill(NamedTuple):
    """A moment at which a release is killed."""

    name: str
    reached: Reached
    then: Reached | None = None
    """What must hold as well, and takes longer to look for than the release takes to end: it is stopped meanwhile."""


def _state(environment: str, holds: Callable[[ServingState, str], bool]) -> Reached:
    def reached(iris: Iris, run: str, version: str) -> bool:
        found = read_state(iris.context.store, "iris", environment)
        return found is not None and found.state.release == run and holds(found.state, version)

    return reached


def _exists(key: str) -> Reached:
    return lambda iris, run, version: iris.context.store.etag(key.format(run=run, version=version))


_told = _exists("iris/ledger/release/version-{version}-{run}.json")


def _canary(share: float) -> Reached:
    return _state("prod", lambda state, _: bool(state.canary) and state.canary_share == share)


def _named(iris: Iris, _: str, version: str) -> bool:
    alias = iris.context.registry.alias("iris", CHAMPION)
    return alias is not None and alias.version == version


def kill_at(kill: Kill, iris: Iris, version: str) -> None:
    """Start a release by hand and kill it at its moment."""
    with iris.by_hand("release", "--version", version) as run:
        run.kill_when(
            lambda found: kill.reached(iris, found, version),
            lambda found: kill.then is None or kill.then(iris, found, version),
        )


KILLS = (
    Kill("it began", lambda *_: True),
    Kill("UAT is written", _state("uat", lambda state, version: state.champion.version == version)),
    Kill("UAT is tested", _exists("iris/reports/smoke/uat-{run}.xml")),
    Kill("it is approved", _exists("iris/ledger/approval/prod-version-{version}-{run}.json")),
    Kill("the shadow is written", _state("prod", lambda state, _: bool(state.shadow) and not state.canary)),
    Kill("the first canary is written", _canary(0.2)),
    Kill("the second canary is written", _canary(0.5)),
    Kill("it answers everything", _state("prod", lambda state, version: state.champion.version == version)),
    Kill("PROD is tested", _exists("iris/reports/smoke/prod-{run}.xml")),
    Kill("the ledger knows", _told),
    Kill("the alias is set", _told, _named),
)
