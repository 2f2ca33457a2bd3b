"""Flows that the tests of the worker run in jobs."""

import os
import time

from prefect import flow


@flow
def greet(name: str = "job") -> None:
    """Say something on the process's output, which is no log of Prefect's."""
    os.write(1, f"hello {name}\n".encode())


@flow
def fail() -> None:
    """End badly."""
    raise ValueError("no such luck")


@flow
def sleep(seconds: float = 60) -> None:
    """Take time."""
    time.sleep(seconds)


@flow(timeout_seconds=1)
def overlong() -> None:
    """Take more time than the flow allows."""
    time.sleep(5)


@flow
def once(marker: str) -> None:
    """Take long at the first time and no time later."""
    if not os.path.exists(marker):  # noqa: PTH110
        with open(marker, "w"):  # noqa: PTH123
            pass
        time.sleep(60)


@flow
def reveal() -> None:
    """Prove that the secret arrived, without showing it."""
    os.write(1, f"secret of {len(os.environ['MODEL_PASSWORD'])} letters\n".encode())
