"""Tasks of a rollback: an earlier version, known to the ledger, answers again."""

from typing import Any

import msgspec

from mlops.adapters.ledger import version_subject
from mlops.adapters.serving import Found, read_state, wait_until_served, write_state
from mlops.adapters.store import Conflict
from mlops.core.serving import ENVIRONMENTS, Environment, Served, champion_before
from tasks.context import current_flow_run, open_model
from tasks.mend import releases
from tasks.network import Refused, network_task, service_task
from tasks.release import overtaken


class Target(msgspec.Struct, frozen=True):
    """Where a rollback goes, and the state it starts from."""

    version: Served
    before: Found


@network_task("find the earlier version", resumable=True)
def find_target(model: str, environment: Environment, version: str | None) -> Target:
    """Look up the version to go back to: the one released before the present champion, unless named.

    Raises:
        Refused: there is none, or the named one was never released (the message names those that were).
    """
    if environment not in ENVIRONMENTS:
        raise Refused(f"environment {environment!r}: use one of {', '.join(ENVIRONMENTS)}")
    context = open_model(model)
    before = read_state(context.store, model, environment)
    if before is None:
        raise Refused(f"nothing serves in {environment} yet, so there is nothing to go back from")
    known = releases(context)
    shown = ", ".join(dict.fromkeys(each.version for each in known)) or "none"
    if version is None:
        found = champion_before(known, before.state.champion)
        missing = f"no version was released before version {before.state.champion.version}"
    else:
        found = next((each for each in known if each.version == version), None)
        missing = f"version {version} of {model} was never released"
    if found is None:
        raise Refused(f"{missing}; released were: {shown}")
    return Target(found, before)


@service_task("go back in {environment}")
def go_back(model: str, environment: Environment, target: Target) -> int:
    """Let the earlier version answer, by one conditional put; return the generation once it is served.

    Raises:
        Refused: the environment was changed meanwhile.
        NotServed: the service does not follow; the state is written all the same.
    """
    context, run = open_model(model), current_flow_run()
    current = read_state(context.store, model, environment)
    if current and current.state.release == run and current.state.champion == target.version:
        written = current  # An earlier try of this task wrote it.
    else:
        try:
            written = write_state(context.store, model, environment, target.version, run, target.before)
        except Conflict:
            raise overtaken(context, environment) from None
    service = context.services.ensure(model, environment)
    wait_until_served(service.url, written.state.generation)
    return written.state.generation


@network_task("write rollback to the ledger")
def record_rollback(
    model: str, environment: Environment, target: Target, reason: str, by: str, numbers: dict[str, Any]
) -> None:
    """Write who went back from which version to which, and why."""
    left = target.before.state
    ended = [f"ended the trial of version {trial.version}" for trial in {left.shadow, left.canary} if trial]
    context = open_model(model)
    context.ledger.record(
        "rollback",
        version_subject(target.version.version, current_flow_run()),
        "rolled back",
        reasons=(reason, *ended),
        numbers={
            "version": target.version.version,
            "digest": target.version.digest,
            "from_version": left.champion.version,
            "from_digest": left.champion.digest,
            "environment": environment,
            **numbers,
        },
        actor=by,
        flow_run=current_flow_run(),
    )
