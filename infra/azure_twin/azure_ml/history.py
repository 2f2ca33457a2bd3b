"""Experiments, runs, their metrics and artifacts: the services ``history``, ``metric`` and ``artifact``."""

import re
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.azure_twin.azure_ml.errors import user_error
from infra.azure_twin.azure_ml.plane import Call, Plane, routes
from infra.azure_twin.azure_ml.state import Run, Workspace, now

EVENTS = {
    "Microsoft.MachineLearning.Run.Start": "Running",
    "Microsoft.MachineLearning.Run.Completed": "Completed",
    "Microsoft.MachineLearning.Run.Failed": "Failed",
    "Microsoft.MachineLearning.Run.Canceled": "Canceled",
}


def history_routes(plane: Plane) -> list[Route]:
    """The routes of the run history."""
    run = "/experiments/{experiment}/runs/{run}"
    by_id = "/experimentids/{experiment_id}/runs/{run}"
    history = {
        ("GET", "/experiments/{experiment}"): get_experiment,
        ("GET", "/experimentids/{experiment_id}"): get_experiment,
        ("POST", "/experiments/{experiment}"): create_experiment,
        ("POST", "/experiments/{experiment}/runs:query"): query_runs,
        ("POST", "/experiments:query"): query_experiments,
        ("GET", "/runs/{run}"): get_run,
        ("GET", f"{run}/details"): get_details,
        ("POST", f"{run}/events"): post_event,
        ("GET", f"{run}/artifacts"): list_artifacts,
        ("DELETE", f"{run}/tags"): delete_tags,
        ("GET", f"{run}/metricsingest/wait"): metrics_ingested,
    }
    for place in (run, by_id):
        history |= {("GET", place): get_run, ("PATCH", place): patch_run}
    metric = {("POST", "/runs/{run}/batch"): post_metrics, ("POST", "/runs/{run}/full"): full_metric}
    metric[("POST", "/runs/{run}/list")] = list_metrics
    artifact = {
        ("POST", "/artifacts/batch/metadata/{origin}/{container}"): create_artifacts,
        ("GET", "/artifacts/{origin}/{container}"): find_artifacts,
        ("GET", "/artifacts/contentinfo/{origin}/{container}/{artifact:path}"): find_artifact,
        ("GET", "/artifacts/prefix/contentinfo/{origin}/{container}/{prefix:path}"): find_artifacts,
    }
    return [
        *routes(plane, "/history/v1.0", history),
        *routes(plane, "/metric/v2.0", metric),
        *routes(plane, "/artifact/v2.0", artifact),
    ]


async def get_experiment(call: Call) -> Any:
    """An experiment; 404 when it was never used."""
    if call.experiment not in call.workspace.experiments:
        return JSONResponse({"error": {"code": "UserError", "message": "Experiment not found."}}, 404)
    return _experiment(call.workspace, call.experiment)


async def create_experiment(call: Call) -> Any:
    """Make an experiment."""
    call.workspace.experiment(call.experiment)
    return _experiment(call.workspace, call.experiment)


async def query_experiments(call: Call) -> Any:
    """All experiments."""
    found = [_experiment(call.workspace, name) for name in call.workspace.experiments]
    return {"value": found, "continuationToken": None}


def _experiment(workspace: Workspace, name: str) -> dict[str, Any]:
    return {"experimentId": workspace.experiment(name), "name": name, "createdUtc": now(), "tags": {}}


async def get_run(call: Call) -> Any:
    """A run."""
    return view(call.workspace, call.run)


async def patch_run(call: Call) -> Any:
    """Create or change a run: tags, properties, name and description."""
    body = await call.json()
    run = call.workspace.runs.get(call.path["run"])
    if run is None:
        call.workspace.experiment(call.experiment)
        run = Run(call.path["run"], call.experiment, next(call.workspace.numbers), run_type="sdk")
        call.workspace.runs[run.run_id] = run
    run.tags |= body.get("tags") or {}
    run.properties |= {key: value for key, value in (body.get("properties") or {}).items() if value is not None}
    run.name = body.get("displayName") or run.name
    run.description = body.get("description") or run.description
    return view(call.workspace, run)


async def delete_tags(call: Call) -> Any:
    """Remove tags."""
    for name in await call.json():
        call.run.tags.pop(name, None)
    return view(call.workspace, call.run)


async def query_runs(call: Call) -> Any:
    """Runs of an experiment, newest first; filters by tag and by status."""
    body = await call.json()
    wanted = body.get("filter") or ""
    tags = re.findall(r'\(Tags/(\S+) eq "(.*?)"\)', wanted)
    present = re.findall(r"\(Tags/(\S+) ne null or ", wanted)
    statuses = re.findall(r"\(Status eq (\w+)\)", wanted)
    found = [
        run
        for run in reversed(call.workspace.runs.values())
        if run.experiment == call.experiment
        and all(run.tags.get(name) == value for name, value in tags)
        and all(name in run.tags for name in present)
        and (not statuses or run.status in statuses)
    ]
    return {"value": [view(call.workspace, run) for run in found], "continuationToken": None}


async def get_details(call: Call) -> Any:
    """A run with its definition and the addresses of its logs."""
    run = call.run
    logs = {
        path: call.plane.blobs.url(blob)
        for path, blob in run.artifacts.items()
        if path.startswith(("user_logs/", "logs/", "system_logs/"))
    }
    return {
        "runId": run.run_id,
        "target": run.target,
        "status": run.status,
        "startTimeUtc": run.started,
        "endTimeUtc": run.ended,
        "error": run.error,
        "warnings": None,
        "properties": run.properties,
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": run.definition or None,
        "logFiles": logs,
    }


async def post_event(call: Call) -> Any:
    """Start, complete, fail or cancel a run that is no job."""
    event = await call.json()
    run = call.run
    run.status = EVENTS.get(event["name"], run.status)
    if run.status == "Running":
        run.started = run.started or now()
    elif run.status in EVENTS.values():
        run.ended = now()
    if event["name"].endswith(".Error"):
        run.error = user_error("RunError", str(event.get("data")))
    return Response(status_code=200)


async def post_metrics(call: Call) -> Any:
    """Log metrics."""
    body = await call.json()
    call.run.metrics += body.get("values") or []
    return {"errors": []}


async def metrics_ingested(_: Call) -> Any:
    """Metrics are there as soon as they are logged."""
    return {}


async def list_metrics(call: Call) -> Any:
    """The names of a run's metrics."""
    names = {each["name"]: each["columns"] for each in call.run.metrics}
    listed = [{"metricKey": {"name": name}, "columns": columns} for name, columns in names.items()]
    return {"value": listed, "continuationToken": None}


async def full_metric(call: Call) -> Any:
    """All values of a metric."""
    body = await call.json()
    found = [metric for metric in call.run.metrics if metric["name"] == body.get("metricName")]
    if not found:
        return JSONResponse({"error": {"code": "UserError", "message": "Metric not found."}}, 404)
    return {**found[0], "value": [value for metric in found for value in metric.get("value", [])]}


async def create_artifacts(call: Call) -> Any:
    """Make room for artifacts; their content goes to the addresses that this answers."""
    origin, container = call.path["origin"], call.path["container"]
    run = call.workspace.runs.get(container.removeprefix("dcid."))
    made, places = {}, {}
    for path in [each["path"] for each in (await call.json())["paths"]]:
        blob = f"{call.workspace.account}/azureml/{origin}/{container}/{path}"
        if run:
            run.artifacts[path] = blob
        made[path] = {
            "artifactId": f"{origin}/{container}/{path}",
            "origin": origin,
            "container": container,
            "path": path,
            "etag": "1",
            "createdTime": now(),
        }
        places[path] = {
            "contentUri": call.plane.blobs.url(blob),
            "origin": origin,
            "container": container,
            "path": path,
        }
    return {"artifacts": made, "artifactContentInformation": places, "errors": {}}


async def find_artifact(call: Call) -> Any:
    """The address of one artifact of a run."""
    if found := _addresses(call, lambda path: path == call.path["artifact"]):
        return found[0]
    return JSONResponse({"error": {"code": "UserError", "message": "Artifact not found."}}, 404)


async def find_artifacts(call: Call) -> Any:
    """The addresses of a run's artifacts whose path begins with a prefix."""
    prefix = call.path.get("prefix", "")
    return {"value": _addresses(call, lambda path: path.startswith(prefix)), "continuationToken": None}


def _addresses(call: Call, wanted: Callable[[str], bool]) -> list[dict[str, str]]:
    origin, container = call.path["origin"], call.path["container"]
    run = call.workspace.runs.get(container.removeprefix("dcid."))
    return [
        {"contentUri": call.plane.blobs.url(blob), "origin": origin, "container": container, "path": path}
        for path, blob in (run.artifacts if run else {}).items()
        if wanted(path)
    ]


async def list_artifacts(call: Call) -> Any:
    """The artifacts of a run."""
    run = call.run
    container = f"dcid.{run.run_id}"
    listed = [{"origin": "ExperimentRun", "container": container, "path": path} for path in run.artifacts]
    return {"value": listed, "continuationToken": None}


def view(workspace: Workspace, run: Run) -> dict[str, Any]:
    """A run as the run history answers it."""
    place = f"https://{workspace.location}.api.azureml.ms/execution/v1.0{workspace.scope}"
    cancel = f"{place}/experiments/{run.experiment}/runId/{run.run_id}/cancel" if run.target else None
    return {
        "runNumber": run.number,
        "rootRunId": run.run_id,
        "experimentId": workspace.experiment(run.experiment),
        "createdUtc": run.created,
        "runId": run.run_id,
        "status": run.status,
        "startTimeUtc": run.started,
        "endTimeUtc": run.ended,
        "heartbeatEnabled": False,
        "displayName": run.name or run.run_id,
        "description": run.description,
        "dataContainerId": f"dcid.{run.run_id}",
        "hidden": False,
        "runType": run.run_type,
        "properties": run.properties,
        "scriptName": run.definition.get("script"),
        "target": run.target,
        "tags": run.tags,
        "cancelUri": cancel,
        "error": run.error,
        "warnings": [],
        "queueingInfo": {"code": "Queued", "message": run.queueing} if run.queueing else None,
    }
