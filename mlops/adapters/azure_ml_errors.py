"""Errors of Azure Machine Learning's SDK as one exception that carries Azure's own words."""

import ast
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TRANSIENT = (408, 429, 500, 502, 503, 504)
TEXT_LIMIT = 600


class AzureMlError(Exception):
    """An operation failed; ``transient`` when the network or the service was the reason, and a retry may help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@contextmanager
def translated(action: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what the SDKs raise into ``AzureMlError``, saying what was done and what Azure answered.

    ``kinds`` are exceptions of the SDK beside those of the HTTP clients under it.
    """
    import httpx
    import requests
    from azure.core.exceptions import AzureError
    from msrest.exceptions import ClientException

    network = (ClientException, AzureError, requests.RequestException, httpx.HTTPError)
    caught: tuple[type[Exception], ...] = (*kinds, *network)
    try:
        yield
    except caught as error:
        raise AzureMlError(f"{action}: {explain(error)}", transient=is_transient(error)) from error


def explain(error: Exception) -> str:
    """Azure's code and message where the exception, or the one that it was raised from, has them, else its first lines.

    Where Azure refuses, the SDK raises guesses of its own, in the same form, from the exception that has Azure's words.
    """
    chain: list[BaseException] = [error]
    # The SDK raises some exceptions from themselves.
    while (cause := chain[-1].__cause__) and not any(cause is each for each in chain):
        chain.append(cause)
    for raised in reversed(chain):
        for text in (_body(raised), _text(raised)):
            if found := _code_and_message(text):
                return found
    return _text(error).strip()[:TEXT_LIMIT]


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except TypeError:  # A ServiceException without details cannot be shown (azureml-core 1.61).
        return str(error.args[0] if error.args else type(error).__name__)


def error_texts(errors: list[dict[str, Any]] | None) -> str:
    """``CODE: MESSAGE`` of each error that a resource carries."""
    return "; ".join(_read(each) or str(each) for each in errors or [])


def status_of(error: Exception) -> int:
    """The HTTP status behind an exception; 0 when there was no answer."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    if isinstance(status, int):
        return status
    found = re.search(r'(?:Response Code: |"status_code": |Code: )(\d{3})', _text(error))
    return int(found[1]) if found else 0


def is_transient(error: Exception) -> bool:
    """Whether the network, a busy service or an expired token was the reason, so that another try may help."""
    import httpx
    import requests
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError
    from msrest.exceptions import ClientRequestError

    network = (
        requests.ConnectionError, requests.Timeout, httpx.TransportError, ServiceRequestError, ServiceResponseError,
        ClientRequestError,
    )  # fmt: skip
    if isinstance(error, network) or status_of(error) in TRANSIENT:
        return True
    return status_of(error) == 401 and "AuthenticationToken" in explain(error)


def _body(error: BaseException) -> str:
    response = getattr(error, "response", None)
    text = getattr(response, "text", "")
    return str(text() if callable(text) else text)


def _code_and_message(text: str) -> str:
    """``CODE: MESSAGE`` of the innermost error in a text that holds Azure's JSON somewhere."""
    start = text.find("{")
    content = re.search(r"Content: (b'.*'|b\".*\")", text)
    if content:  # SDK v1 puts the representation of the bytes into its message.
        text, start = ast.literal_eval(content[1]).decode("utf-8", "replace"), 0
    try:
        found = json.JSONDecoder().raw_decode(text[start:])[0] if start >= 0 else None
    except ValueError:
        return ""
    return _read(found)


def _read(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    error = body.get("error_details") or body.get("error") or body
    if isinstance(error, str):
        return error
    if "error" in error:
        error = error["error"]
    inner = error.get("innerError") or {}
    code = inner.get("code") or error.get("code")
    return f"{code}: {error['message']}" if code and error.get("message") else ""
