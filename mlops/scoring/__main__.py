"""Runs one scoring service: ``python -m mlops.scoring``, configured by ``MLOPS_SCORING_*`` variables."""

import gc
import logging
import os
import socket
import sys
from contextlib import ExitStack
from typing import NoReturn

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.store import Store, StoreError, open_store
from mlops.scoring import config, logs, server
from mlops.scoring.app import ScoringApp
from mlops.scoring.cache import Cache
from mlops.scoring.config import Config
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Serving
from mlops.settings import SettingsError

logger = logging.getLogger("mlops.scoring")


SWITCH_SECONDS = 0.0005
"""How long the threads behind the answers may keep the interpreter while a request waits; Python's own is ten times."""


class PortTaken(Exception):
    """Another process listens where the service should."""


def main() -> None:
    """Serve until SIGTERM or SIGINT, then answer what has begun and write the log."""
    logs.configure(os.environ.get(config.MODEL, ""), os.environ.get(config.ENVIRONMENT, ""))
    try:
        run(config.load())
    except (config.ConfigError, SettingsError, StoreError, PortTaken) as error:
        _fail(str(error))


def run(told: Config) -> None:
    """Serve one model in one environment until a signal ends it.

    Raises:
        PortTaken: the port is in use.
        mlops.adapters.store.StoreError: the store's URI is unusable.
    """
    store = open_store(told.store_uri)
    serving = Serving(store, told.model, told.environment, Cache(told.cache, told.model, told.environment))
    logs.configure(told.model, told.environment, lambda: serving.version)
    log = _open_log(store, told)
    shadow = Shadow(log)
    app = ScoringApp(told.model, told.environment, serving, log, shadow, config.open_keys(told), told.limits)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(told.host, told.port))
        for part in (log, serving):
            part.start()
        stack.callback(log.close)  # Last, when nothing adds rows any more.
        stack.callback(shadow.close)
        stack.callback(serving.close)
        stack.callback(app.close)
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()  # What is loaded now stays, so it need not be looked through again.
        gc.set_threshold(50_000, 20, 100)  # Logged rows live for a second; to look for cycles among them is in vain.
        logger.info("listens on http://%s:%d", told.host, told.port)
        server.serve(app, listener)
    logger.info("stopped; %d rows of the log wait on disk, %d were lost", log.queued, log.dropped)


def _open_log(store: Store, told: Config) -> PredictionLog:
    try:
        return PredictionLog(store, told.model, told.environment, told.spool, spool_bytes=told.limits.spool)
    except OSError as error:
        reason = f"the prediction log cannot use the folder {told.spool} ({error.strerror})"
        raise config.ConfigError(f"{reason}; set {config.SPOOL} to one that can be written") from None


def _listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is begun."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {host}:{port} ({error.strerror}); set {config.PORT} to a free port"
        ) from None


def _fail(reason: str) -> NoReturn:
    logger.error(reason)
    sys.exit(2)


if __name__ == "__main__":
    main()
