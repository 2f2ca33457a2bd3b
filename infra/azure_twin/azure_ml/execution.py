"""Snapshots and the submission of jobs: the services ``content`` and ``execution``."""

from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin.azure_ml.errors import failure
from infra.azure_twin.azure_ml.history import view
from infra.azure_twin.azure_ml.plane import Call, Plane, routes
from infra.azure_twin.azure_ml.state import Run, guid

NONE = "00000000-0000-0000-0000-000000000000"


def execution_routes(plane: Plane) -> list[Route]:
    """The routes of both services."""
    content = {
        ("POST", "/snapshots/getblob"): snapshot_blobs,
        ("POST", "/snapshots/{snapshot}"): create_snapshot,
    }
    execution = {
        ("POST", "/experiments/{experiment}/snapshotrun"): submit,
        ("POST", "/experiments/{experiment}/runId/{run}/cancel"): cancel,
    }
    latest = routes(plane, "/content/v1.0", {("GET", "/snapshots/latest/metadata"): latest_snapshot})
    return [*latest, *routes(plane, "/content/v2.0", content), *routes(plane, "/execution/v1.0", execution)]


async def latest_snapshot(_: Call) -> Any:
    """An empty snapshot, so that the SDK uploads all files; later it compares with what it noted itself."""
    return {"id": NONE, "root": {}}


async def snapshot_blobs(call: Call) -> Any:
    """Where the files of a new snapshot are to be put."""
    folder = f"{call.workspace.account}/snapshots/{guid()}"
    names = (await call.json())["FileNames"]
    return {"fileNodes": [{"fullName": name, "blobUri": call.plane.blobs.url(f"{folder}/{name}")} for name in names]}


async def create_snapshot(call: Call) -> Any:
    """Keep a snapshot: what its parent has and what was uploaded for it, as far as its tree lists them."""
    body = await call.json()
    files = dict(call.workspace.snapshots.get(body.get("ParentSnapshotId") or "", {}))
    for node in body["FileRevisionList"]["FileNodes"]:
        files[node["FullName"]] = call.plane.blobs.named(node["BlobUri"])
    present = set(_paths(body["DirTreeNode"], ""))
    call.workspace.snapshots[call.path["snapshot"]] = {name: files[name] for name in files if name in present}
    return JSONResponse({"id": call.path["snapshot"]}, 200)


def _paths(node: dict[str, Any], prefix: str) -> list[str]:
    """The files of a tree."""
    found = []
    for child in node["children"].values():
        name = f"{prefix}{child['name']}"
        found += [name] if child["type"] == "File" else _paths(child, f"{name}/")
    return found


async def submit(call: Call) -> Any:
    """Queue a job on a cluster; a run id is used once."""
    body = await call.json()
    definition, name = body["Configuration"], call.query["runId"]
    if name in call.workspace.runs:
        raise failure("run exists", run=name)
    if body["SnapshotId"] not in call.workspace.snapshots:
        raise failure("no snapshot", snapshot=body["SnapshotId"])
    cluster = call.workspace.clusters.get(str(definition["target"]).lower())
    if cluster is None:
        raise failure("no compute", name=definition["target"])
    run = Run(name, call.experiment, next(call.workspace.numbers), status="Queued", target=cluster.name)
    run.definition, run.snapshot = definition, body["SnapshotId"]
    run.properties = {"ContentSnapshotId": run.snapshot, "_azureml.ComputeTargetType": "amlcdsi"}
    call.workspace.experiment(call.experiment)
    call.workspace.runs[name] = run
    call.plane.scheduler.wake(call.workspace, cluster)
    return {"runId": name}


async def cancel(call: Call) -> Any:
    """Cancel a job; it ends soon afterwards."""
    await call.plane.scheduler.cancel(call.run)
    return Response(status_code=200) if call.run.status != "Canceled" else JSONResponse(view(call.workspace, call.run))
