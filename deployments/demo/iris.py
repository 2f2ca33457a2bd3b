"""Iris end to end, with its approval given through the API that the UI uses."""

from deployments.demo import runs
from deployments.demo.stage import Stage, prod, serve_all, train_and_validate
from mlops.adapters.datasets import iris_csv
from tasks.context import open_model

MODEL = "iris"
APPROVER = "demo"


def play(stage: Stage) -> None:
    """Bring iris to PROD; nothing is done twice."""
    context = open_model(MODEL)
    if prod(context):
        with stage.step("iris: released by an earlier demo"):
            serve_all(context)
        return
    context.store.put(f"{MODEL}/landing/iris.csv", iris_csv())
    train_and_validate(stage, MODEL)
    with stage.step("iris: release, UAT and smoke test") as notes:
        found = runs.wait_for("the release of iris", lambda: runs.find_run("release", stage.began, model=MODEL))
        waiting = runs.wait_for("the approval form of iris", lambda: runs.suspended_or_ended(found.id))
        notes.append(f"run {waiting.name} waits for its approval")
    with stage.step("iris: approval, PROD, verification") as notes:
        runs.approve(waiting.id, APPROVER, "Approved by `make demo`, through the API that the UI uses.")
        done = runs.completed(runs.wait_for("the release of iris", lambda: runs.ended(waiting.id)))
        notes.append(done.state.message or "" if done.state else "")
