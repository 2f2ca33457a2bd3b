"""Which of our resources nobody needs any more, and what flow runs cost: rules and sums, no Azure."""

from collections.abc import Iterable, Mapping
from datetime import date

import msgspec


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A resource or job that carries a flow run's id."""

    id: str
    kind: str
    """``container group`` or ``job``."""
    flow_run: str
    ended: bool = False
    """Whether it has ended by itself: a job that has is a record, and costs nothing."""


class FlowRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a flow run costs by: whose it is, and how long it took."""

    flow: str
    model: str
    seconds: float


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """List price of one hour of what a pool's flow runs run on."""

    sku: str
    region: str
    per_hour: float
    currency: str
    source: str


class PriceList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List prices and the day on which they were read."""

    read_on: date
    pools: dict[str, Price]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of a flow for a model cost."""

    model: str
    flow: str
    runs: int
    hours: float
    amount: float
    currency: str


def unneeded(seen: Iterable[Seen], over: Mapping[str, bool | None], *, unknown: bool = False) -> list[Seen]:
    """Those whose flow run has ended, and that have not ended by themselves.

    ``over`` says of flow runs whether they have ended; none of those that Prefect does not know. They may belong to
    another installation in the same resource group, so what they left goes only where ``unknown`` says so. A flow run
    that is missing was not asked about.
    """

    def is_over(flow_run: str) -> bool:
        ended = over.get(flow_run, False)
        return unknown if ended is None else ended

    return [each for each in seen if not each.ended and is_over(each.flow_run)]


def costs(runs: Iterable[tuple[str, FlowRun]], prices: PriceList) -> list[Cost]:
    """Cost by model and flow of (pool, flow run) pairs, dearest first; pools without a price cost nothing here."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    for pool, run in runs:
        if price := prices.pools.get(pool):
            entry = sums.setdefault((run.model, run.flow, price.currency), [0, 0.0, 0.0])
            entry[0] += 1
            entry[1] += run.seconds / 3600
            entry[2] += run.seconds / 3600 * price.per_hour
    found = [
        Cost(model=model, flow=flow, runs=int(count), hours=hours, amount=amount, currency=currency)
        for (model, flow, currency), (count, hours, amount) in sums.items()
    ]
    return sorted(found, key=lambda cost: (-cost.amount, cost.model, cost.flow))
