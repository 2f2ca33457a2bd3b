"""A read-only server of the reports in the store, for links from the Prefect UI."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from deployments.pages.guard import expected_sign_in, guarded, is_guarded
from mlops import settings as settings_module
from mlops.adapters.store import NotFound, Store, StoreError, open_store

CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "png": "image/png",
    "xml": "application/xml",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    # Reports show values from data: whatever slips in can neither load nor send anything.
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; form-action 'none'",
}


def create_app() -> ASGIApp:
    """Make the application on the store of the settings; it asks for the sign-in when the environment holds one.

    Raises:
        SettingsError, StoreError, mlops.adapters.sign_in.SignInError: the settings, the store or the sign-in cannot be
            used.
    """
    settings = settings_module.load()
    app = reports_of(open_store(settings.store_uri, settings))
    return guarded(app, expected_sign_in(), "/healthz") if is_guarded() else app


def reports_of(store: Store) -> Starlette:
    """Make the application that serves ``/<model>/reports/...`` of a store."""

    # Not async: Starlette runs it in a thread, since the store blocks.
    def report(request: Request) -> Response:
        key = f"{request.path_params['model']}/reports/{request.path_params['path']}"
        content_type = CONTENT_TYPES.get(key.rpartition(".")[2])
        if content_type is None:
            raise HTTPException(404, f"reports end with {', '.join(CONTENT_TYPES)}")
        try:
            return Response(store.get(key), media_type=content_type, headers=HEADERS)
        except NotFound:
            raise HTTPException(404, f"no report {key}") from None
        except StoreError as error:
            raise HTTPException(400, str(error)) from None

    return Starlette(routes=[Route("/healthz", _healthz), Route("/{model}/reports/{path:path}", report)])


def _healthz(_: Request) -> Response:
    return JSONResponse({"status": "ok"})
