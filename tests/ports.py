"""Ports for servers that tests start, which nobody else takes while they are down."""

import socket
from random import SystemRandom

FIRST, LAST, STEP = 10_000, 32_000, 10
"""Below 32768, from where Linux takes the ports of connections: any of another test could take a server's port while
that is started again. Services take ports one after the other from the first one on, hence the step."""

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody uses or was given before, like the few after it."""
    (port,) = free_ports(1)
    return port


def free_ports(count: int) -> list[int]:
    """As many of them, all different.

    Raises:
        AssertionError: fewer are free.
    """
    # Chance, and not pytest's seed: processes that run tests at the same time must not choose the same ones.
    candidates = SystemRandom().sample(range(FIRST, LAST, STEP), (LAST - FIRST) // STEP)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if port not in _given and all(_is_free(each) for each in range(port, port + STEP)):
            found.append(port)
            _given.add(port)
    assert len(found) == count, f"of the ports from {FIRST} to {LAST}, {len(found)} are free"
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
