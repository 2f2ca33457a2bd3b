"""Evidently's own pages, over the runs that drift checks left in the store."""

import logging
import time

import anyio.to_thread
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.pages.guard import expected_sign_in, guarded, is_guarded
from mlops import settings as settings_module
from mlops import spec
from mlops.adapters.evidently_report import quiet
from mlops.adapters.evidently_workspace import Mirror
from mlops.adapters.store import StoreError, open_store

FRESH_SECONDS = 5.0
VERSION = "/api/version"
logger = logging.getLogger(__name__)


def create_app() -> ASGIApp:
    """Make the application of the settings; it asks for the sign-in when the environment holds one.

    Raises:
        SettingsError, StoreError, mlops.adapters.sign_in.SignInError: the settings, the store or the sign-in cannot be
            used.
    """
    settings = settings_module.load()
    settings.evidently.mkdir(parents=True, exist_ok=True)
    mirror = Mirror(open_store(settings.store_uri, settings), settings.evidently, spec.names(settings.models_dir))
    fetch(mirror)  # Evidently reads at its start what is there, and later what comes.
    with quiet():
        from evidently.ui.service import app as evidently

        inner: ASGIApp = evidently.create_app(evidently.get_config(workspace=str(settings.evidently)))
    app = Fresh(inner, mirror)
    return guarded(app, expected_sign_in(), VERSION) if is_guarded() else app


class Fresh:
    """Fetches what is new in the store before Evidently's interface is asked, at most every few seconds."""

    def __init__(self, app: ASGIApp, mirror: Mirror) -> None:
        self._app = app
        self._mirror = mirror
        self._lock = anyio.Lock()
        self._next = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"].startswith("/api/") and scope["path"] != VERSION:
            async with self._lock:
                if time.monotonic() >= self._next:
                    await anyio.to_thread.run_sync(fetch, self._mirror)
                    self._next = time.monotonic() + FRESH_SECONDS
        await self._app(scope, receive, send)


def fetch(mirror: Mirror) -> None:
    """Fetch what is new, if the store can be read."""
    try:
        mirror.fetch()
    except (StoreError, OSError) as error:  # What is here can be looked at meanwhile.
        logger.warning("the store's runs cannot be fetched into evidently_dir: %s", error)
