"""All processes of a container or job, without a kernel's namespace: a variable that they inherit names them.

Sessions and process groups do not do, since programs make their own: Prefect's runner starts each engine in a session
of its own, which would go on working after its container's end.
"""

import asyncio
import contextlib
import time

import psutil

TWIN = "AZURE_TWIN_CONTAINER"
"""The variable's name for all containers and jobs of a twin; its value is the twin's folder."""
ONE = "AZURE_TWIN_PROCESSES"
"""The variable's name for one container or job."""
GONE_SECONDS = 10.0


async def end(value: str, name: str = ONE) -> None:
    """Kill every process that has the variable with this value, and those that it starts meanwhile.

    Raises:
        TimeoutError: some are still there after ``GONE_SECONDS``.
    """
    await asyncio.to_thread(end_now, value, name)


def end_now(value: str, name: str = ONE) -> None:
    """The same, for callers without a loop."""
    deadline = time.monotonic() + GONE_SECONDS
    while found := _living(name, value):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {[each.pid for each in found]} cannot be killed")
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=0.1)


def _living(name: str, value: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # Another user's, or already gone.
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
