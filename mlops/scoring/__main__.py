"""Runs one scoring service: ``python -m mlops.scoring``, configured by ``MLOPS_SCORING_*`` variables."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import ExitStack
from typing import NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from mlops.adapters.prediction_log import PredictionLog
from mlops.adapters.store import Store, StoreError, open_store
from mlops.scoring import config, logs
from mlops.scoring.app import ScoringApp
from mlops.scoring.cache import Cache
from mlops.scoring.config import Config
from mlops.scoring.keys import KeyFile
from mlops.scoring.shadow import Shadow
from mlops.scoring.state import Serving
from mlops.settings import SettingsError

logger = logging.getLogger("mlops.scoring")


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
    app = ScoringApp(told.model, told.environment, serving, log, shadow, KeyFile(told.keys_file), told.limits)
    with ExitStack() as stack:
        stack.enter_context(_reserve(told.host, told.port))
        for part in (log, serving):
            part.start()
        stack.callback(log.close)  # Last, when nothing adds rows any more.
        stack.callback(shadow.close)
        stack.callback(serving.close)
        stack.callback(app.close)
        gc.freeze()  # What is loaded now stays, so it need not be looked through again.
        gc.set_threshold(50_000, 20, 100)  # Logged rows live for a second; to look for cycles among them is in vain.
        asyncio.run(_serve(app, told))
    logger.info("stopped; %d rows of the log wait on disk, %d were lost", log.queued, log.dropped)


def _open_log(store: Store, told: Config) -> PredictionLog:
    try:
        return PredictionLog(store, told.model, told.environment, told.spool, spool_bytes=told.limits.spool)
    except OSError as error:
        reason = f"the prediction log cannot use the folder {told.spool} ({error.strerror})"
        raise config.ConfigError(f"{reason}; set {config.SPOOL} to one that can be written") from None


async def _serve(app: ScoringApp, told: Config) -> None:
    server = Server(
        app,
        address=told.host,
        port=told.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    logger.info("listens on http://%s:%d", told.host, told.port)
    await server.serve()


def _reserve(host: str, port: int) -> socket.socket:
    """Hold a port against other scoring services, having found it free of anything else.

    Granian listens with SO_REUSEPORT, by which two services would silently share the requests.
    The UDP port of the same number is free for this process only, until it ends however it ends.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_DGRAM)
    try:
        held.bind((host, port))
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as error:
        held.close()
        raise PortTaken(
            f"cannot listen on {host}:{port} ({error.strerror}); set {config.PORT} to a free port"
        ) from None
    return held


def _fail(reason: str) -> NoReturn:
    logger.error(reason)
    sys.exit(2)


if __name__ == "__main__":
    main()
