"""Flows that tests run in containers."""

import time

from prefect import flow


@flow(name="completes")
def completes(number: int) -> int:
    return number * 2


@flow(name="fails")
def fails() -> None:
    raise ValueError("this flow fails")


@flow(name="lasts", timeout_seconds=2)
def lasts() -> None:
    time.sleep(60)


@flow(name="waits")
def waits(seconds: float) -> None:
    time.sleep(seconds)
