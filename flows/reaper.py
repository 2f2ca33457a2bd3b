"""Finds on Azure what flow runs left behind, removes it, and reports what flow runs cost."""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.cli import run
from mlops.core.reaping import unneeded
from tasks.reaper import ask_prefect, cost_of, find_groups, find_jobs, remove, settings_of_azure, show_removed


@flow(name="reaper", flow_run_name="reaper", log_prints=True)
def reaper(days: int = 30, unknown: bool = False) -> Any:
    """Remove container groups and jobs whose flow run has ended; report cost by model and flow.

    Args:
        days: how many days the report of cost covers.
        unknown: remove also what names a flow run that this Prefect server does not know.
    """
    if settings_of_azure() is None:
        return Completed(message="no Azure subscription is configured (azure_subscription): nothing to remove")
    seen = [*find_groups(), *find_jobs()]
    removed = unneeded(seen, ask_prefect(seen), unknown=unknown)
    for each in removed:
        remove(each)
    show_removed(removed)
    found = cost_of(int(days))
    cost = f"{sum(each.amount for each in found):.2f} in the last {days} days by list prices"
    return Completed(message=f"{len(removed)} of {len(seen)} removed; {cost}")


if __name__ == "__main__":
    run(reaper)
