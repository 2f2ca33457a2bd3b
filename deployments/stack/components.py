"""What the embedded stack consists of, derived from the settings."""

import base64
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import httpx

from deployments.automations import HEARTBEAT_SECONDS
from deployments.stack import postgres
from deployments.stack.processes import Component, ComponentError, Record
from flows.api import sign_in_variables
from mlops.adapters.sign_in import VARIABLE, servers_sign_in
from mlops.settings import Settings

POOLS = ("training", "operations")
PAGES = ("uvicorn", "--ws", "none", "--no-access-log", "--factory")


def servers(settings: Settings) -> list[Component]:
    """The servers in starting order; those that the settings place elsewhere are left out."""
    database = () if settings.database else ("postgres",)
    found = []
    if not settings.prefect_url:
        found.append(_prefect(settings, database))
    if not settings.mlflow_url:
        found.append(_mlflow(settings, database))
    if database and found:
        found.insert(0, postgres.component(settings))
    if not settings.reports_url:
        found.append(_reports(settings))
    if not settings.evidently_url:
        found.append(_evidently(settings))
    return found


def workers(settings: Settings) -> list[Component]:
    """One process worker for each pool; their pools must exist and the Prefect server answer."""
    return [_worker(settings, pool) for pool in POOLS]


def client_environment(settings: Settings) -> dict[str, str]:
    """The variables with which a process of ours reaches the stack, Prefect and MLflow clients included."""
    told = sign_in_variables(settings) | {name: text for name, text in _guard(settings).items() if text}
    return (
        settings.environment()
        | told
        | {
            "PREFECT_API_URL": settings.prefect_api,
            "PREFECT_HOME": str(settings.state / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLI_PROMPT": "false",
            "MLFLOW_TRACKING_URI": settings.mlflow_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
    )


def _prefect(settings: Settings, needs: tuple[str, ...]) -> Component:
    address = ("--host", settings.host, "--port", str(settings.prefect_port))
    return Component(
        name="prefect",
        command=_python("prefect", "server", "start", *address),
        cwd=settings.home.resolve(),
        # Without PREFECT_API_URL: the server would be a client of itself.
        env=_marked(settings)
        | {
            "PREFECT_HOME": str(settings.state / "prefect"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url(settings, "prefect", "asyncpg"),
            # Relative, so that the UI works on any port and under any name of this machine.
            "PREFECT_SERVER_UI_API_URL": "/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        | ({"PREFECT_SERVER_API_AUTH_STRING": told.text} if (told := servers_sign_in(settings)) else {}),
        keep=("PG",) if settings.database else (),
        ready=_answers(f"{settings.prefect_api}/ready"),
        address=settings.prefect_ui,
        port=settings.prefect_port,
        setting="prefect_port",
        needs=needs,
        prepare=lambda: postgres.create_database(settings, "prefect"),
    )


def _mlflow(settings: Settings, needs: tuple[str, ...]) -> Component:
    address = ("--host", settings.host, "--port", str(settings.mlflow_port))
    options: tuple[str, ...] = ("--artifacts-destination", str(settings.state / "mlflow"), "--workers", "1")
    guard = _guard(settings)
    if guard[VARIABLE]:
        options += ("--app-name", "mlops")
    return Component(
        name="mlflow",
        command=_python("mlflow", "server", *address, *options),
        cwd=settings.home.resolve(),
        env=_marked(settings)
        | {
            # A variable, since everyone on the machine may read a command line.
            "MLFLOW_BACKEND_STORE_URI": postgres.url(settings, "mlflow", "psycopg2"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
            # Its job runner (for scorers of language models) is eight processes more.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        | guard,
        keep=("PG",) if settings.database else (),
        ready=_answers(
            f"{settings.mlflow_uri}/api/2.0/mlflow/experiments/search?max_results=1", _basic(guard[VARIABLE])
        ),
        address=settings.mlflow_uri,
        port=settings.mlflow_port,
        setting="mlflow_port",
        needs=needs,
        prepare=lambda: postgres.create_database(settings, "mlflow"),
    )


def _reports(settings: Settings) -> Component:
    address = ("--host", settings.host, "--port", str(settings.reports_port))
    return Component(
        name="reports",
        command=_python(*PAGES, *address, "deployments.pages.reports:create_app"),
        cwd=settings.home.resolve(),
        env=settings.environment() | _guard(settings),
        ready=_answers(f"{settings.reports_uri}/healthz"),
        address=settings.reports_uri,
        port=settings.reports_port,
        setting="reports_port",
        start_seconds=60,
    )


def _evidently(settings: Settings) -> Component:
    # A process of its own: its import takes seconds and 300 MB, which the reports' server need not pay.
    address = ("--host", settings.host, "--port", str(settings.evidently_port))
    return Component(
        name="evidently",
        command=_python(*PAGES, *address, "deployments.pages.evidently:create_app"),
        cwd=settings.home.resolve(),
        env=settings.environment() | {"DO_NOT_TRACK": "1"} | _guard(settings),
        ready=_answers(f"{settings.evidently_uri}/api/version"),
        address=settings.evidently_uri,
        port=settings.evidently_port,
        setting="evidently_port",
    )


def _worker(settings: Settings, pool: str) -> Component:
    name, temporary = f"local-{pool}", settings.state / "tmp"
    # No --limit: a worker with one dies of a run that is resumed before it has let go of its slot
    # (RuntimeError: this borrower is already holding one of this CapacityLimiter's tokens).
    # How many run at once is the pool's concurrency limit, which the server keeps.
    # Its type is the pool's: processes, container groups or jobs, as the profile has it.
    options = ("--pool", pool, "--name", name)
    return Component(
        name=f"worker-{pool}",
        command=_python("prefect", "worker", "start", *options),
        cwd=settings.home.resolve(),
        env=client_environment(settings)
        | {
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            # Without heartbeats a flow run whose process and worker died is Running for ever.
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            # Prefect keeps a folder of a fixed name there, which is another user's on a shared machine.
            "TMPDIR": str(temporary),
        }
        | _own_variables(settings),
        prepare=lambda: temporary.mkdir(parents=True, exist_ok=True),
        ready=lambda record: _online(settings, pool, name, record),
        address=f"pool {pool}",
        start_seconds=90,
        # A flow run that is told to end is Crashed; one that its worker ends stays Running.
        children_first=True,
    )


def _own_variables(settings: Settings) -> dict[str, str]:
    """What the installation gives its workers alone, as a sign-in that may do less than a person's.

    Raises:
        ComponentError: the file cannot be read, or a line of it is no ``NAME=value``.
    """
    if settings.worker_env_file is None:
        return {}
    try:
        lines = settings.worker_env_file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ComponentError(f"worker_env_file {settings.worker_env_file} cannot be read: {error}") from None
    told = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():  # The line itself may be a secret.
            raise ComponentError(f"worker_env_file {settings.worker_env_file}, line {number}: write NAME=value")
        told[name.strip()] = value
    return told


def _marked(settings: Settings) -> dict[str, str]:
    # By this a process whose leader died is known as ours; other settings do not concern the servers.
    return {"MLOPS_STATE_DIR": str(settings.state)}


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def _guard(settings: Settings) -> dict[str, str]:
    """What the servers ask their callers for, handed over so that none must read a vault; empty for nothing."""
    told = servers_sign_in(settings)
    return {VARIABLE: told.text if told else ""}


def _answers(url: str, headers: Mapping[str, str] | None = None) -> Callable[[Record], bool]:
    return lambda _: _request("GET", url, headers=headers) is not None


def _basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"} if text else {}


def _online(settings: Settings, pool: str, name: str, record: Record) -> bool:
    """Whether Prefect has heard from this worker, and not only from one of that name before it."""
    told = sign_in_variables(settings)
    headers = {"Authorization": f"Bearer {told['PREFECT_API_KEY']}"} if "PREFECT_API_KEY" in told else {}
    headers |= _basic(told.get("PREFECT_API_AUTH_STRING", ""))  # As Prefect's clients do, before a key.
    url = f"{settings.prefect_api}/work_pools/{pool}/workers/filter"
    workers = _request("POST", url, json={}, headers=headers) or []
    return any(
        worker["name"] == name
        and worker["status"] == "ONLINE"
        and datetime.fromisoformat(worker["last_heartbeat_time"]).timestamp() >= record.started
        for worker in workers
    )


def _request(method: str, url: str, **options: Any) -> Any:
    """The JSON answer of a server; none unless it answers well within seconds."""
    try:
        return _client().request(method, url, **options).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None


@cache
def _client() -> httpx.Client:
    # Made once, since each reads the certificates. No proxy stands between us and our own machine.
    return httpx.Client(trust_env=False, timeout=3, limits=httpx.Limits(max_keepalive_connections=0))
