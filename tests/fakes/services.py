"""Scoring services that serve whatever the serving state says, and count what the test tells them to."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from mlops.adapters.services import Service
from mlops.adapters.serving import read_state
from mlops.adapters.store import Store


class FakeServices:
    """One HTTP server for all services: ``/readyz`` follows the state at once, ``/metrics`` is the test's."""

    def __init__(self, store: Store) -> None:
        self.metrics: Callable[[], str] = lambda: ""
        """The text of ``/metrics``; an exception closes the connection."""
        self.unloadable: set[str] = set()
        """Digests that the services cannot load."""
        self.removed: list[str] = []
        self._store = store
        self._served: dict[str, int] = {}
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, model, environment, path = self.path.split("/", 3)
                text = services.ready(model, environment) if path == "readyz" else services.metrics()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def ready(self, model: str, environment: str) -> str:
        found = read_state(self._store, model, environment)
        if found is None:
            return "{}"
        state, name = found.state, f"{model}-{environment}"
        bad = [each.digest for each in (state.champion, state.shadow, state.canary) if each]
        error = None
        if self.unloadable & set(bad):
            error = {"generation": state.generation, "reason": "a golden record is answered otherwise"}
        else:
            self._served[name] = state.generation
        answer = {"generation": self._served.get(name), "champion": msgspec.to_builtins(state.champion)}
        return json.dumps(answer | {"error": error})

    def ensure(self, model: str, environment: str) -> Service:
        return self.describe(model, environment)

    def describe(self, model: str, environment: str) -> Service:
        url = f"http://127.0.0.1:{self._server.server_port}/{model}/{environment}"
        return Service(model=model, environment=environment, url=url, status="running")

    def logs(self, model: str, environment: str, lines: int = 200) -> str:  # noqa: ARG002
        return ""

    def remove(self, model: str, environment: str) -> None:
        self.removed.append(f"{model}-{environment}")

    def stop(self, model: str, environment: str) -> None:
        """Nothing runs."""

    def recorded(self) -> list[Service]:
        return []
