"""A snapshot becomes candidates, the best of them a registered bundle."""

from prefect import flow, unmapped

from flows.cli import run
from tasks.events import MODEL_REGISTERED, emit
from tasks.train import (
    choose_best,
    entrants,
    fit_candidate,
    load_rows,
    publish_metrics,
    register_bundle,
    track_candidate,
)


@flow(name="training", flow_run_name="train {model}", log_prints=True)
def training(model: str, snapshot: str | None = None, alarm: str | None = None) -> str:
    """Train all candidates, register the best one and return its version.

    Args:
        model: the name of a spec in deployments/models.
        snapshot: the id of the data set to train on; the newest one unless given.
        alarm: a window whose verdict was retrain: the data since its onset become a rival of the sliding window.
    """
    rows = load_rows(model, snapshot, alarm)
    named = entrants(model, rows)
    fitted = fit_candidate.map(unmapped(model), named, unmapped(rows))
    trained = track_candidate.map(unmapped(model), named, unmapped(rows), fitted).result()
    best = choose_best(model, rows, trained)
    version = register_bundle(model, best, rows)
    publish_metrics(model, version, trained, best)
    emit(MODEL_REGISTERED, model, version=version.version, digest=version.digest, snapshot=version.snapshot)
    return version.version


if __name__ == "__main__":
    run(training)
