"""A client of the scoring service, as any caller would write it."""

import ipaddress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx


def read_key(file: Path) -> str:
    """The first key of a service's key file."""
    return file.read_text("utf-8").split()[0]


def follows_environment(url: str) -> bool:
    """Whether the environment's proxy and certificates hold for a service: not for one of this machine."""
    host = httpx.URL(url).host
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


class ScoringClient:
    """One scoring service at a URL, with its key; a context manager."""

    def __init__(self, url: str, key: str = "", timeout: float = 30.0) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=follows_environment(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def score(self, records: dict[str, Any] | list[dict[str, Any]], request_id: str = "") -> httpx.Response:
        """Score one record or a list of them; the response is not judged."""
        headers = {"X-Request-ID": request_id} if request_id else {}
        return self._http.post("/score", json=records, headers=headers)

    def feedback(self, labels: list[dict[str, str]]) -> httpx.Response:
        """Send true labels by request id."""
        return self._http.post("/feedback", json=labels)

    def ready(self) -> dict[str, Any]:
        """What serves now: generation, champion, error; empty while the service does not answer."""
        try:
            answer: dict[str, Any] = self._http.get("/readyz").json()
        except (httpx.TransportError, ValueError):
            return {}
        return answer

    def metrics(self) -> str:
        """The service's metrics in the Prometheus text format; empty while it does not answer."""
        try:
            return self._http.get("/metrics").raise_for_status().text
        except httpx.HTTPError:
            return ""
