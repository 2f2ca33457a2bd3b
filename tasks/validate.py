"""Tasks of validation: the challenger against the champion on the same rows, then in the real service."""

import socket
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from prefect.artifacts import create_table_artifact

from mlops.adapters import bundles
from mlops.adapters.ledger import version_subject
from mlops.adapters.registry import CHALLENGER, Version
from mlops.adapters.scoring_client import read_key
from mlops.adapters.services import key_file, open_services
from mlops.adapters.serving import read_state, wait_until_served
from mlops.adapters.smoke import smoke_test
from mlops.adapters.store import open_store
from mlops.core import smoke
from mlops.core.bundle import ServedModel
from mlops.core.promotion import Decision, decide
from mlops.core.serving import Served, ServingState, state_key
from tasks.bundles import bundle_lineage, served_answers, trained_answers
from tasks.context import ModelContext, current_flow_run, open_model, pick_version
from tasks.network import network_task
from tasks.train import contest_of

if TYPE_CHECKING:
    import pandas as pd


@network_task("resolve version", resumable=True)
def resolve_version(model: str, version: str | None) -> Version:
    """Look up a version, the newest one unless named."""
    return pick_version(open_model(model), version, "", f"{model} has no registered version yet: run the flow training")


@network_task("compare with the champion", timeout=600)
def compare(model: str, challenger: Version) -> Decision:
    """Put a challenger through the spec's gates on the holdout rows of its snapshot."""
    context = open_model(model)
    spec = context.spec
    onset = bundle_lineage(context, challenger.digest).onset
    holdout = _holdout(context, challenger, onset)
    champion = _champion(context, challenger)
    decision = decide(
        spec,
        labels=holdout[spec.data.target.name],
        challenger=trained_answers(context, challenger.digest, holdout),
        champion=None if champion is None else trained_answers(context, champion.digest, holdout),
        served=served_answers(context, challenger.digest, holdout),
        holdout=holdout,
        newer=bool(onset),
    )
    against = f"champion version {champion.version}" if champion else "no champion yet"
    create_table_artifact(
        key=f"{model}-gates",
        description=f"{model} version {challenger.version} against {against}, {len(holdout)} holdout rows",
        table=[
            {"gate": gate.name, "result": "passed" if gate.passed else "REFUSED", "reason": gate.reason}
            for gate in decision.gates
        ],
    )
    return decision


@network_task("answer in the real scoring service", timeout=180)
def validate_infrastructure(model: str, challenger: Version) -> tuple[bool, str]:
    """Start the scoring service on nothing but the challenger's bundle, in a folder of its own, and ask it."""
    context = open_model(model)
    files = bundles.load(context.store, model, challenger.digest)
    with tempfile.TemporaryDirectory(prefix="validation-") as folder:
        root = Path(folder).resolve()
        settings = msgspec.structs.replace(
            context.settings,
            profile="local",  # The service's code beside this flow, whatever the profile; no container for a question.
            state_dir=root,
            secrets_dir=None,
            store=(root / "store").as_uri(),
            scoring_port=_free_port(context.settings.host),
        )
        store = open_store(settings.store_uri)
        bundles.save(store, model, challenger.snapshot, files)
        served = Served(challenger.digest, challenger.version)
        store.put(state_key(model, "uat"), msgspec.json.encode(ServingState(generation=1, champion=served)))
        services = open_services(settings)
        service = services.ensure(model, "uat")
        try:
            described = msgspec.json.decode(files["model.json"], type=ServedModel)
            wait_until_served(service.url, 1)
            key = read_key(key_file(settings, model, "uat"))
            checks = smoke_test(service.url, key, context.spec, described, challenger.digest)
        finally:
            services.remove(model, "uat")
    failed = smoke.failures(checks)
    return not failed, "; ".join(failed) or f"{len(checks)} checks passed in the scoring service"


@network_task("record decision")
def record_decision(model: str, challenger: Version, decision: Decision, infrastructure: tuple[bool, str]) -> bool:
    """Write the gates' decision to the ledger; an accepted version becomes the challenger."""
    context = open_model(model)
    answered, detail = infrastructure
    accepted = decision.accepted and answered
    context.ledger.record(
        "gate",
        version_subject(challenger.version, current_flow_run()),
        "accepted" if accepted else "refused",
        reasons=(*decision.reasons, f"scoring service: {detail}"),
        numbers={"gates": msgspec.to_builtins(decision.gates), "digest": challenger.digest},
        flow_run=current_flow_run(),
    )
    if accepted:
        context.registry.set_alias(model, CHALLENGER, challenger.version)
    return accepted


def _free_port(host: str) -> int:
    """A port that no other validation on this machine has: this service is nobody's address."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _champion(context: ModelContext, challenger: Version) -> Served | None:
    """What serves in PROD, by the serving state, unless it is the challenger itself."""
    found = read_state(context.store, context.spec.name, "prod")
    if found is None or found.state.champion.digest == challenger.digest:
        return None
    return found.state.champion


def _holdout(context: ModelContext, challenger: Version, onset: str) -> "pd.DataFrame":
    """The rows of its snapshot that the challenger, and its rivals in training, did not see."""
    return contest_of(context, challenger.snapshot, datetime.fromisoformat(onset) if onset else None).holdout
