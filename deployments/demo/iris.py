"""Iris end to end, with its approval given through the API that the UI uses."""

import os
import subprocess
import sys
from datetime import datetime
from uuid import UUID

from deployments.demo import runs
from deployments.demo.stage import Stage, prod, run_deployment, serve_all
from mlops.adapters.azure_resources import Resource
from mlops.adapters.datasets import iris_csv
from mlops.adapters.registry import CHALLENGER
from tasks.azure import GROUP_TAG
from tasks.context import ModelContext, open_model
from tasks.reaper import settings_of_azure

MODEL = "iris"
APPROVER = "demo"
PROVISION_SECONDS = 600


def play(stage: Stage) -> None:
    """Bring iris to PROD; nothing is done twice."""
    context = open_model(MODEL)
    released = prod(context) is not None
    if not released:
        context.store.put(f"{MODEL}/landing/iris.csv", iris_csv())
        run_deployment(stage, MODEL, "ingestion")
    if context.settings.azure_workspace:
        provision(stage, context)
    if released:
        with stage.step("iris: released by an earlier demo"):
            serve_all(context)
        return
    run_deployment(stage, MODEL, "training")
    run_deployment(stage, MODEL, "validation")
    approve_release(stage, stage.began, challenger(context))


def challenger(context: ModelContext) -> str:
    """The version that validation let through.

    Raises:
        DemoError: it let none through.
    """
    found = context.registry.alias(MODEL, CHALLENGER)
    if found is None:
        raise runs.DemoError(f"validation refused the version of {MODEL}: its artifact {MODEL}-gates shows why")
    return found.version


def provision(stage: Stage, context: ModelContext) -> None:
    """Make the workspace, its cluster and its data asset by the flow, as one does who is signed in: from here.

    Flow runs on Azure have no role that lets them make workspaces.

    Raises:
        DemoError: it failed; the message ends with what it said.
    """
    with stage.step(f"{MODEL}: provision, the workspace and its cluster") as notes:
        done = subprocess.run(
            [sys.executable, "-m", "flows.provision", MODEL],
            cwd=context.settings.home,
            env=os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROVISION_SECONDS,
            check=False,
        )
        if done.returncode:
            raise runs.DemoError(f"the flow provision failed:\n{(done.stdout + done.stderr)[-2000:]}")
        notes.append(done.stdout.strip().rpartition("\n")[2])


def groups_of(run: UUID) -> list[Resource]:
    """The container groups of a flow run; none where no Azure subscription is configured."""
    from mlops.adapters.azure_auth import credential
    from mlops.adapters.container_groups import tagged

    settings = settings_of_azure()
    if settings is None:
        return []
    found = tagged(credential(settings), settings.azure_subscription, settings.azure_resource_group, GROUP_TAG)
    return [each for each in found if each.tags[GROUP_TAG] == str(run)]


def approve_release(stage: Stage, since: datetime, version: str) -> None:
    """Find the release of a version that the automation has started, and fill in its form as soon as it asks."""
    with stage.step("iris: release, UAT and smoke test") as notes:
        found = runs.wait_for(
            "the release of iris", lambda: runs.find_run("release", since, model=MODEL, version=version)
        )
        waiting = runs.wait_for("the approval form of iris", lambda: runs.suspended_or_ended(found.id))
        notes.append(f"run {waiting.name} waits for its approval")
    with stage.step("iris: approval, PROD, verification") as notes:
        if waiting.state and not waiting.state.is_final():
            # A person takes longer; an approval while the group is being deleted would crash the run.
            runs.wait_for("the end of the run's container group", lambda: None if groups_of(waiting.id) else True)
            runs.approve(waiting.id, APPROVER, "Approved by the demo, through the API that the UI uses.")
        done = runs.completed(runs.wait_for("the release of iris", lambda: runs.ended(waiting.id)))
        notes.append(done.state.message or "" if done.state else "")
