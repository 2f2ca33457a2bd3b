"""Tasks of a replay: a model's past, every policy over it, the result as a page, a table and a picture."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from prefect import get_run_logger, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.context import current_flow_run, newest_snapshot, open_model
from tasks.network import Refused, network_task

if TYPE_CHECKING:
    from mlops.adapters.replays import Replay
    from mlops.core.past import Past


@network_task("load the past", timeout=600)
def load_past(model: str, data: str | None, window: str | None, train: str | None) -> "Past":
    """Load the rows of the newest snapshot, labelled predictions included, or of a file, cut into windows.

    Raises:
        Refused: there is no snapshot, the file cannot be used, or it cannot be cut as asked.
    """
    from mlops.adapters.tables import read_table
    from mlops.core.past import Asked, prepare, prepare_rows
    from mlops.core.quality import FileError
    from mlops.core.stream import StreamError, parse_length

    context = open_model(model)
    spec = context.spec
    try:
        asked = Asked(window=parse_length(window) if window else None, train=parse_length(train) if train else None)
        if data:
            return prepare(read_table(Path(data)), data, asked, spec)
        snapshot = newest_snapshot(context)
        return prepare_rows(context.snapshots.load(snapshot, spec.data), f"snapshot {snapshot[:12]}", asked, spec)
    except (FileError, StreamError) as error:
        raise Refused(str(error)) from error


@task(name="replay policies", task_run_name="replay {policies}", cache_policy=NO_CACHE)
def replay_policies(policies: str, past: "Past") -> "Replay":
    """Run every policy over the past; the log tells how far it is."""
    from mlops.adapters.replays import policies_for, replayed

    logger = get_run_logger()

    def tell(name: str, done: int, of: int) -> None:
        if done == of:
            logger.info("%s: %d windows", name, of)

    return replayed(past, policies_for(policies, past.stream.judged), progress=tell)


@network_task("publish the replay", timeout=300)
def publish_replay(model: str, found: "Replay") -> str:
    """Write the numbers to the store and show recommendation, table and picture; return the key of the numbers."""
    from mlops.core.advice import markdown, rows
    from mlops.core.replay_plot import replay_png

    table = rows(found.policies, found.controls)
    title = (
        f"{model}: {found.windows} windows, {found.rows - found.learnt:,} rows, after {found.learnt:,} to learn from"
    )
    key = f"{model}/reports/replay/{current_flow_run() or 'local'}.json"
    open_model(model).store.put(key, msgspec.json.format(msgspec.json.encode(found), indent=2))
    create_markdown_artifact(
        key=f"{model}-replay",
        markdown=markdown(table, found.recommendation, title),
        description=f"Recommended: {found.recommendation.policy}",
    )
    create_table_artifact(key=f"{model}-replay-policies", table=table, description=title)
    picture = base64.b64encode(replay_png(found.policies, title)).decode()
    create_image_artifact(
        key=f"{model}-replay-windows",
        image_url=f"data:image/png;base64,{picture}",
        description="Log loss of each window under each policy; below, when each one retrained.",
    )
    return key
