"""What is removed, what stays, and what it cost."""

from datetime import date

import pytest

from mlops.core.reaping import FlowRun, Price, PriceList, Seen, costs, unneeded


def run(*, seconds: float = 3600, flow: str = "training", model: str = "iris") -> FlowRun:
    return FlowRun(flow=flow, model=model, seconds=seconds)


def price(per_hour: float) -> Price:
    return Price(sku="DS2", region="westeurope", per_hour=per_hour, currency="USD", source="here")


@pytest.mark.parametrize(
    ("over", "ended", "removed"),
    [
        ({"1": True}, False, True),
        ({"1": False}, False, False),
        ({"1": None}, False, False),
        ({}, False, False),
        ({"1": True}, True, False),
    ],
    ids=["run ended", "run lives", "run unknown", "run not asked about", "ended by itself"],
)
def test_what_an_ended_run_left_is_removed(over: dict[str, bool | None], ended: bool, removed: bool) -> None:
    seen = Seen(id="group", kind="container group", flow_run="1", ended=ended)
    assert (unneeded([seen], over) == [seen]) is removed


def test_what_names_a_run_of_nobody_goes_when_asked_for() -> None:
    seen = Seen(id="group", kind="container group", flow_run="1")
    assert unneeded([seen], {"1": None}, unknown=True) == [seen]
    assert unneeded([seen], {"1": False}, unknown=True) == []


def test_costs_are_summed_by_model_and_flow_and_the_dearest_comes_first() -> None:
    prices = PriceList(read_on=date(2026, 11, 1), pools={"training": price(0.2), "operations": price(0.1)})
    runs = [
        ("operations", run(flow="ingestion", seconds=1800)),
        ("training", run()),
        ("training", run(seconds=7200)),
        ("laptop", run()),
    ]
    found = [(cost.flow, cost.runs, cost.hours, round(cost.amount, 4)) for cost in costs(runs, prices)]
    assert found == [("training", 2, 3.0, 0.6), ("ingestion", 1, 0.5, 0.05)]
