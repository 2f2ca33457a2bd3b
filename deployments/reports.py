"""A read-only server of the reports in the store, for links from the Prefect UI."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

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


def create_app(store: Store | None = None) -> Starlette:
    """Make the application that serves ``/<model>/reports/...``, from the store of the settings unless given."""
    if store is None:
        store = open_store(settings_module.load().store_uri)

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
