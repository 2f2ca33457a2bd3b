"""What each policy of retraining would have done with a model's past, and what it would have cost."""

from prefect import flow

from flows.cli import run
from tasks.replay import load_past, publish_replay, replay_policies


@flow(name="replay", flow_run_name="replay {model}", log_prints=True)
def replay(
    model: str,
    data: str | None = None,
    policies: str = "never,always,every:4,evidently,ours",
    window: str | None = None,
    train: str | None = None,
) -> str:
    """Replay policies over the newest snapshot, or a file, and return the one that is recommended.

    Args:
        model: the name of a spec in deployments/models.
        data: path of a CSV or Parquet file with labels, where the flow runs; the newest snapshot unless given.
        policies: of never, always, every:N, evidently and ours, separated by commas.
        window: rows (1000) or time (1d, 1w) of a window; the spec's unless given.
        train: rows or time that the first model learns from; the spec's training window unless given.
    """
    past = load_past(model, data, window, train)
    found = replay_policies(policies, past)
    publish_replay(model, found)
    return found.recommendation.policy


if __name__ == "__main__":
    run(replay)
