"""The task that a release and a rollback begin with: what a dead release left is brought to one story.

The serving state says what serves, so ledger and aliases follow it; a canary whose release is dead
has nobody who judges it, so its champion takes all requests again.
"""

from contextlib import suppress

import msgspec

from mlops.adapters.ledger import version_subject
from mlops.adapters.serving import Found, read_state, wait_until_served, write_state
from mlops.adapters.store import Conflict
from mlops.core import smoke
from mlops.core.serving import Served, champion_before
from tasks.context import ModelContext, current_flow_run, open_model
from tasks.network import service_task
from tasks.release import align_aliases, ask_service, overtaken, restore
from tasks.runs import Run, find_writer

TRIES = 3


class Mended(msgspec.Struct, frozen=True):
    """What was found: a living release that holds PROD, and a version whose release was completed."""

    holder: str = ""
    released: Served | None = None


@service_task("mend what a dead release left")
def mend(model: str, *, aliases: bool = True) -> Mended:
    """Put a dead release's shadow or canary back, write the ledger entries it could not, and align the aliases.

    Args:
        model: the name of a spec.
        aliases: false where the registry must not hold up what is to be done.

    Raises:
        Refused: other runs changed PROD again and again at the same time.
    """
    context = open_model(model)
    for _ in range(TRIES):
        # A watchdog and the next release may mend the same at once: who comes second finds it done.
        with suppress(Conflict):
            return _mend(context, aliases)
    raise overtaken(context, "prod")


def _mend(context: ModelContext, aliases: bool) -> Mended:
    """Raises ``Conflict`` when another run wrote meanwhile."""
    model = context.spec.name
    found, mended = read_state(context.store, model, "prod"), Mended()
    if found and found.state.release != current_flow_run():
        writer = find_writer(context.store, model, found.state.release)
        trial = found.state.canary or found.state.shadow
        if trial and writer.alive:
            return Mended(holder=f"{writer}, holds prod with version {trial.version}; wait for it or cancel it")
        if trial:
            _end_trial(context, found, trial, writer)
        elif not writer.alive and not _told(context, found):
            mended = _complete(context, found, writer)
    _tell_of_uat(context)
    if aliases:
        align_aliases(context)
    return mended


def releases(context: ModelContext) -> list[Served]:
    """The versions that were released to PROD, oldest first, each as often as it was."""
    released = context.ledger.decided("release", "released")
    return [Served(entry.numbers["digest"], entry.numbers["version"]) for entry in released]


def _end_trial(context: ModelContext, found: Found, trial: Served, writer: Run) -> None:
    role = "the canary" if found.state.canary else "the shadow"
    reason = f"{writer}, left version {trial.version} as {role}; version {found.state.champion.version} answers again"
    # The entry comes first: should this run die in between, the next one finds the trial and ends it.
    _record(context, trial, writer, "rolled back", reason)
    _write_champion(context, found, found.state.champion)


def _complete(context: ModelContext, found: Found, writer: Run) -> Mended:
    """Finish for a writer that died after its last put: verify what serves, then tell the ledger."""
    champion = found.state.champion
    context.services.ensure(context.spec.name, "prod")
    checks = ask_service(context, "prod", champion.digest)
    failed = smoke.failures(checks)
    told = releases(context)
    before, first = champion_before(told, champion), not told
    if failed and (before or first):
        _record(context, champion, writer, "rolled back", f"{writer}, died before it had verified prod", *failed)
        if before:
            _write_champion(context, found, before)
        else:
            restore(context, "prod", None, found)
        return Mended()
    _record(context, champion, writer, "released", f"written by a later run: {writer}, died before it could", *failed)
    return Mended(released=champion)


def _tell_of_uat(context: ModelContext) -> None:
    """Say in the ledger how a release ended that died, or whose approval expired, while its version was in UAT."""
    found = read_state(context.store, context.spec.name, "uat")
    if found is None or found.state.release == current_flow_run() or _told(context, found):
        return
    writer = find_writer(context.store, context.spec.name, found.state.release)
    if not writer.alive:
        _record(context, found.state.champion, writer, "refused", f"{writer}, ended before prod was changed")


def _told(context: ModelContext, found: Found) -> bool:
    """Whether the ledger knows how the writer of a state ended."""
    subject = version_subject(found.state.champion.version, found.state.release)
    kinds = ("release", "rollback")
    return not found.state.release or any(context.ledger.find(kind, subject) for kind in kinds)


def _record(context: ModelContext, version: Served, writer: Run, decision: str, *reasons: str) -> None:
    context.ledger.record(
        "release",
        version_subject(version.version, writer.id),
        decision,
        reasons=reasons,
        numbers={"version": version.version, "digest": version.digest, "mended_by": current_flow_run()},
        flow_run=writer.id,
    )


def _write_champion(context: ModelContext, found: Found, champion: Served) -> None:
    model = context.spec.name
    told = context.ledger.newest("release", digest=champion.digest, version=champion.version)
    release = told.flow_run if told and told.decision == "released" else ""
    written = write_state(context.store, model, "prod", champion, release, found)
    service = context.services.ensure(model, "prod")
    wait_until_served(service.url, written.state.generation)
