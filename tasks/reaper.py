"""Tasks of the reaper: what there is, what Prefect knows of it, what goes, what it cost."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.artifacts import create_table_artifact

from mlops import settings as settings_module
from mlops.adapters.azure_auth import credential
from mlops.adapters.container_groups import tagged
from mlops.adapters.prices import read_prices
from mlops.core.reaping import Cost, FlowRun, Seen, costs
from mlops.settings import Settings
from tasks.azure import GROUP_TAG, open_resources, open_workspace, refusing
from tasks.network import network_task

JOB_TAG = "prefect-flow-run"
GROUP_VERSION = "2023-05-01"
LONG_SECONDS = 900
PAGE = 200


def settings_of_azure() -> Settings | None:
    """The settings; none where no subscription is configured."""
    settings = settings_module.load()
    return settings if settings.azure_subscription and settings.azure_resource_group else None


@network_task("find container groups", timeout=LONG_SECONDS)
def find_groups() -> list[Seen]:
    """Container groups of flow runs; those of scoring services carry no flow run's id."""
    settings = settings_module.load()
    with refusing():
        found = tagged(credential(settings), settings.azure_subscription, settings.azure_resource_group, GROUP_TAG)
    return [Seen(id=each.id, kind="container group", flow_run=each.tags[GROUP_TAG]) for each in found]


@network_task("find jobs", timeout=LONG_SECONDS)
def find_jobs() -> list[Seen]:
    """Jobs of flow runs, where a workspace is configured."""
    settings = settings_module.load()
    if not settings.azure_workspace:
        return []
    with refusing():
        found = open_workspace(settings).jobs(JOB_TAG)
    return [Seen(id=each.id, kind="job", flow_run=each.tags[JOB_TAG], ended=each.ended) for each in found]


@network_task("ask Prefect", timeout=LONG_SECONDS)
def ask_prefect(seen: list[Seen]) -> dict[str, bool | None]:
    """Whether the flow runs of what was found have ended; none for those that Prefect does not know."""
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    over: dict[str, bool | None] = {}
    with get_client(sync_client=True) as client:
        for name in {each.flow_run for each in seen if not each.ended}:
            try:
                run = client.read_flow_run(UUID(name))
            except ObjectNotFound:
                over[name] = None
            except ValueError:
                continue  # No id of Prefect's: not ours to judge.
            else:
                over[name] = run.state is not None and run.state.is_final()
    return over


@network_task("remove {each.kind}", timeout=LONG_SECONDS)
def remove(each: Seen) -> None:
    """Delete a container group, or cancel a job."""
    settings = settings_module.load()
    with refusing():
        if each.kind == "job":
            open_workspace(settings).cancel(each.id)
        else:
            open_resources(settings).delete(each.id, GROUP_VERSION)


@network_task("cost", timeout=LONG_SECONDS)
def cost_of(days: int) -> list[Cost]:
    """What the flow runs of the last days cost by list prices, by model and flow, as a table in the UI."""
    prices = read_prices(settings_module.load().home / "infra" / "prices.yaml")
    found = costs(_ended_runs(datetime.now(UTC) - timedelta(days=days)), prices)
    rows = [
        {
            "model": each.model or "–",
            "flow": each.flow,
            "runs": each.runs,
            "hours": round(each.hours, 2),
            "cost": f"{each.amount:.2f} {each.currency}",
        }
        for each in found
    ]
    description = f"The last {days} days by list prices of {prices.read_on}; without idle nodes and storage."
    create_table_artifact(key="azure-cost", table=rows, description=description)
    return found


@network_task("show what was removed")
def show_removed(removed: list[Seen]) -> None:
    """What the reaper removed, as a table in the UI."""
    rows = [{"kind": each.kind, "id": each.id, "flow run": each.flow_run} for each in removed]
    create_table_artifact(key="azure-removed", table=rows, description="Left over by flow runs that had ended.")


def _ended_runs(since: datetime) -> list[tuple[str, FlowRun]]:
    """Flow runs that began since then, with their pool."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    wanted = FlowRunFilter.model_validate({"start_time": {"after_": since}})
    found: list[tuple[str, FlowRun]] = []
    with get_client(sync_client=True) as client:
        flows: dict[UUID, str] = {}
        while page := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=len(found)):
            for run in page:
                if run.flow_id not in flows:
                    flows[run.flow_id] = client.read_flow(run.flow_id).name
                seconds = run.estimated_run_time.total_seconds()
                model = str(run.parameters.get("model") or "")
                found.append((run.work_pool_name or "", FlowRun(flow=flows[run.flow_id], model=model, seconds=seconds)))
    return found
