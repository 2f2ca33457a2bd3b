"""Serving states in the store, changed only by conditional puts, and the wait for services to follow."""

import time
from typing import NamedTuple

import msgspec

from mlops.adapters.scoring_client import ScoringClient
from mlops.adapters.store import NotFound, Store
from mlops.core.serving import Served, ServingState, state_key

POLL_SECONDS = 0.2


class NotServed(Exception):
    """A scoring service did not take a generation; the message says its reason."""


class Found(NamedTuple):
    """A serving state and the tag under which it may be replaced."""

    state: ServingState
    etag: str


def read_state(store: Store, model: str, environment: str) -> Found | None:
    """The serving state of an environment, if it has one."""
    try:
        data, etag = store.get_with_etag(state_key(model, environment))
    except NotFound:
        return None
    return Found(msgspec.json.decode(data, type=ServingState), etag)


def write_state(
    store: Store,
    model: str,
    environment: str,
    champion: Served,
    release: str,
    expected: Found | None,
    *,
    shadow: Served | None = None,
    canary: Served | None = None,
    share: float = 0.0,
) -> Found:
    """Let bundles answer in an environment, as the generation after the expected one.

    Args:
        store: holds the state.
        model: the model.
        environment: the environment.
        champion: answers what the canary does not.
        release: the flow run that writes.
        expected: the state to replace; none: there must be none.
        shadow: is asked as well, and answers nobody.
        canary: answers a share of the requests.
        share: that share, between 0 and 1.

    Raises:
        Conflict: the state is no longer the expected one; nothing was written.
    """
    state = ServingState(
        generation=expected.state.generation + 1 if expected else 1,
        champion=champion,
        shadow=shadow,
        canary=canary,
        canary_share=share,
        release=release,
    )
    data, key = msgspec.json.encode(state), state_key(model, environment)
    etag = store.put_if_match(key, data, expected.etag) if expected else store.put_if_absent(key, data)
    return Found(state, etag)


def wait_until_served(url: str, generation: int, timeout: float = 30.0) -> None:
    """Wait until the service at a URL answers with a generation or a later one.

    Raises:
        NotServed: it reports that it cannot load it, or does not get there within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with ScoringClient(url, timeout=5.0) as client:
        while True:
            ready = client.ready()
            error = ready.get("error") or {}
            # A service that finds no state goes on with its last one, whose generation may be any.
            stateless = bool(error) and error.get("generation") is None and not error.get("transient")
            if (ready.get("generation") or 0) >= generation and not stateless:
                return
            if error.get("generation") == generation and not error.get("transient"):
                raise NotServed(f"{url} cannot serve generation {generation}: {error.get('reason')}")
            if time.monotonic() > deadline:
                serves = ready.get("generation", "nothing") if ready else "no answer"
                why = f" ({error['reason']})" if error.get("reason") else ""
                raise NotServed(f"{url} serves {serves} {timeout:g} s after generation {generation} was written{why}")
            time.sleep(POLL_SECONDS)
