"""Tasks of ingestion: landing files and late labels become parts of a snapshot."""

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec
from prefect.artifacts import create_table_artifact

from mlops.adapters.prediction_log import feedback_keys, read_feedback, read_predictions
from mlops.adapters.snapshots import Manifest, Part, Source
from mlops.core.labels import labelled_rows, with_labels
from mlops.core.quality import FileError, check, read_csv, read_parquet
from tasks.context import ModelContext, open_model
from tasks.network import network_task

PATIENCE = timedelta(days=7)
"""How long a label waits for its prediction."""


class Curated(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one or more sources."""

    name: str
    sources: tuple[Source, ...]
    part: Part | None = None
    good: int = 0
    bad: int = 0
    refused: str = ""
    """Why a whole file was refused; empty when it was read."""


@network_task("list landing files")
def list_landing(model: str) -> list[str]:
    """Keys of the landing files that the newest snapshot has not read, oldest name first."""
    context = open_model(model)
    held = {source.key: source.digest for source in _manifest(context).sources}
    keys = context.store.list(f"{model}/landing/")
    return [key for key in keys if held.get(key) != _digest(context.store.get(key))]


@network_task("curate {key}", timeout=None)
def curate_file(model: str, key: str) -> Curated:
    """Check one landing file: good rows to a part, bad rows to quarantine with a reason each.

    A file that cannot be read as a whole, or that changed after it was ingested, goes to
    quarantine whole and is not tried again under the same name and content.
    """
    context = open_model(model)
    data = context.store.get(key)
    source = Source(key, _digest(data))
    name = key.removeprefix(f"{model}/landing/")
    quarantine = f"{model}/quarantine/{name}/{source.digest[:12]}"
    try:
        if any(known.key == key for known in _manifest(context).sources):
            raise FileError(name, "changed after it was ingested; send corrections as a file of a new name")
        raw = read_parquet(data, name) if name.endswith(".parquet") else read_csv(data, name)
        checked = check(raw, context.spec.data, name)
    except FileError as error:
        context.store.put(f"{quarantine}-file", data)
        context.store.put(f"{quarantine}-reason.json", msgspec.json.encode({"file": name, "reason": str(error)}))
        return Curated(name=name, sources=(source,), refused=str(error))
    if len(checked.bad):
        context.store.put(f"{quarantine}-rows.csv", checked.bad.to_csv(index=False).encode())
    part = context.snapshots.put_part(checked.good, context.spec.data) if len(checked.good) else None
    return Curated(name=name, sources=(source,), part=part, good=len(checked.good), bad=len(checked.bad))


@network_task("join late labels", timeout=600)
def join_labels(model: str) -> Curated | None:
    """Make a part of the PROD predictions whose labels have come since the newest snapshot.

    A feedback object is read once all its requests are in the prediction log; until then it
    waits for the next ingestion, so a label that overtakes its prediction is not lost. After
    ``PATIENCE`` its labels without a prediction go to quarantine.
    """
    context = open_model(model)
    held = {source.key for source in _manifest(context).sources}
    keys = [key for key in feedback_keys(context.store, model) if key not in held and "/prod-" in key]
    if not keys:
        return None
    predictions = read_predictions(context.store, model, "prod", schema=context.spec.data).to_pandas()
    known = set(predictions["_request_id"])
    ready = [key for key in keys if _quarantine_strangers(context, key, known)]
    if not ready:
        return None
    feedback = read_feedback(context.store, model, keys=ready).to_pandas()
    rows = labelled_rows(with_labels(predictions, feedback, context.spec.data), context.spec.data)
    sources = tuple(Source(key, _digest(context.store.get(key))) for key in ready)
    part = context.snapshots.put_part(rows, context.spec.data) if len(rows) else None
    bad = len(feedback) - int(feedback["_request_id"].isin(known).sum())
    return Curated(name=f"feedback ({len(ready)} objects)", sources=sources, part=part, good=len(rows), bad=bad)


@network_task("publish snapshot")
def publish_snapshot(model: str, curated: list[Curated]) -> tuple[str | None, bool]:
    """Add the parts to a new snapshot; return its id (the newest one's when nothing is new) and whether it is new."""
    context = open_model(model)
    parts = tuple(each.part for each in curated if each.part)
    sources = tuple(source for each in curated for source in each.sources)
    snapshot, new = context.snapshots.publish(parts, sources)
    if curated:
        create_table_artifact(
            key=f"{model}-ingestion",
            description=f"Snapshot `{snapshot}`: {context.snapshots.manifest(snapshot).rows} rows.",
            table=[
                {
                    "source": each.name,
                    "good rows": each.good,
                    "quarantined": "whole file" if each.refused else each.bad,
                    "reason": each.refused,
                }
                for each in curated
            ],
        )
    return snapshot or None, new


def _manifest(context: ModelContext) -> Manifest:
    latest = context.snapshots.latest()
    if latest is None:
        return Manifest(model=context.spec.name, parts=(), sources=())
    return context.snapshots.manifest(latest)


def _quarantine_strangers(context: ModelContext, key: str, known: set[str]) -> bool:
    """Whether a feedback object is ready to be read: all its requests are known, or it has waited long enough."""
    labels = read_feedback(context.store, context.spec.name, keys=[key]).to_pandas()
    strangers = labels[~labels["_request_id"].isin(known)]
    if strangers.empty:
        return True
    if datetime.now(UTC) - labels["_time"].max() < PATIENCE:
        return False
    rows = strangers.assign(_reason=f"no PROD prediction has this request id after {PATIENCE.days} days")
    name = key.removeprefix(f"{context.spec.name}/feedback/")
    context.store.put(f"{context.spec.name}/quarantine/feedback/{name}.csv", rows.to_csv(index=False).encode())
    return True


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
