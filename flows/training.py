"""A snapshot becomes candidates, the best of them a registered bundle."""

from prefect import flow, unmapped

from flows.cli import run
from tasks.context import open_model
from tasks.events import MODEL_REGISTERED, emit
from tasks.train import choose_best, fit_candidate, load_rows, publish_metrics, register_bundle, track_candidate


@flow(name="training", flow_run_name="train {model}", log_prints=True)
def training(model: str, snapshot: str | None = None) -> str:
    """Train all candidates, register the best one and return its version.

    Args:
        model: the name of a spec in deployments/models.
        snapshot: the id of the data set to train on; the newest one unless given.
    """
    names = [candidate.name for candidate in open_model(model).spec.training.candidates]
    rows = load_rows(model, snapshot)
    fitted = fit_candidate.map(unmapped(model), names, unmapped(rows))
    trained = track_candidate.map(unmapped(model), names, unmapped(rows), fitted).result()
    version = register_bundle(model, choose_best(model, trained), rows)
    publish_metrics(model, version, trained)
    emit(MODEL_REGISTERED, model, version=version.version, digest=version.digest, snapshot=version.snapshot)
    return version.version


if __name__ == "__main__":
    run(training)
