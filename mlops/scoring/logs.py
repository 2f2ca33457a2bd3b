"""The service's log: one JSON object a line on standard output."""

import logging
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

import msgspec


class JsonLines(logging.Formatter):
    """Formats records as JSON with the service's model, environment and the version that serves."""

    def __init__(self, model: str, environment: str, version: Callable[[], str | None] = lambda: None) -> None:
        super().__init__()
        self._model = model
        self._environment = environment
        self._version = version

    def format(self, record: logging.LogRecord) -> str:
        """One line; ``request_id`` is there when the record was logged with it as an extra."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "model": self._model,
            "environment": self._environment,
            "version": self._version(),
        }
        if request_id := getattr(record, "request_id", None):
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure(model: str, environment: str, version: Callable[[], str | None] = lambda: None) -> None:
    """Send every log record, and what no code catches, to standard output as JSON lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(model, environment, version))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("mlops.scoring").critical("the service ends: %s", error, exc_info=(kind, error, trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    found = given.exc_value or given.exc_type()
    logging.getLogger("mlops.scoring").critical(
        "a thread ended: %s", found, exc_info=(given.exc_type, found, given.exc_traceback)
    )
