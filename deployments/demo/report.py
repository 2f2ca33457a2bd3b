"""The demo's end: its table, its addresses, and ``demo.json`` for programs."""

import shlex
from typing import Any

import msgspec
from rich.table import Table

from deployments.demo.flights import Retraining, Week
from deployments.demo.stage import Stage, prod
from mlops.adapters.scoring_client import read_key
from mlops.adapters.services import key_file
from mlops.core.serving import ENVIRONMENTS
from tasks.context import open_model

MODELS = ("iris", "flights")


def show(stage: Stage, weeks: list[Week], retrainings: list[Retraining]) -> None:
    """Print the weeks, the retrainings and the addresses, and write ``demo.json`` to the state directory."""
    settings = open_model("iris").settings
    models = {model: _environments(model) for model in MODELS}
    stage.console.print(_table(weeks))
    for week in weeks:
        stage.say(f"[bold]week {week.week}, {week.verdict}[/]: {' '.join(week.reasons)}")
    stage.say("")
    for each in retrainings:
        stage.say(
            f"{each.alarm}: the automation retrained version {each.from_version} to {each.to_version}; "
            f"from the event to serving {each.seconds_event_to_serving:.0f} s"
        )
    last = f"{settings.reports_url}/flights/reports/drift/{retrainings[-1].alarm}.html" if retrainings else ""
    stage.say(f"\nPrefect UI   {settings.prefect_ui}\nMLflow       {settings.mlflow_uri}")
    stage.say(f"Evidently    {last or settings.reports_url}")
    for model in MODELS:
        for environment in ENVIRONMENTS:
            stage.console.print(_curl(model, environment), soft_wrap=True)
    (settings.state / "demo.json").write_bytes(
        msgspec.json.format(
            msgspec.json.encode(
                {
                    "prefect_ui": settings.prefect_ui,
                    "mlflow_ui": settings.mlflow_uri,
                    "evidently_report": last,
                    "models": models,
                    "flights": {
                        "weeks": weeks,
                        "retraining": retrainings[0] if retrainings else None,
                        "retrainings": retrainings,
                    },
                }
            )
        )
    )
    (settings.state / "demo.json").chmod(0o600)  # It holds the keys.


def _environments(model: str) -> dict[str, dict[str, Any]]:
    context = open_model(model)
    described: dict[str, dict[str, Any]] = {}
    for environment in ENVIRONMENTS:
        found = prod(context, environment)
        described[environment] = {
            "url": context.services.describe(model, environment).url,
            "key": read_key(key_file(context.settings, model, environment)),
            "version": found.state.champion.version if found else None,
            "digest": found.state.champion.digest if found else None,
        }
    return described


def _table(weeks: list[Week]) -> Table:
    table = Table(title="Flights from New York, 2013: the model in place against the first one frozen")
    for name in ("week", "rows", "version"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for name in ("AUC", "frozen", "log loss", "frozen"):
        table.add_column(name, justify="right")
    for each in weeks:
        better = each.log_loss < each.frozen_log_loss
        table.add_row(
            str(each.week), str(each.rows), each.version, each.verdict,
            _number(each.auc), _number(each.frozen_auc),
            f"[green]{_number(each.log_loss)}[/]" if better else _number(each.log_loss), _number(each.frozen_log_loss),
        )  # fmt: skip
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _curl(model: str, environment: str) -> str:
    """A line that asks a service for one record; the key is read from its file, not printed."""
    context = open_model(model)
    record = msgspec.json.encode(context.spec.release.golden[0].record).decode()
    url = context.services.describe(model, environment).url
    file = key_file(context.settings, model, environment)
    return (
        f'{model} {environment}: curl -s {url}/score -H "Authorization: Bearer $(head -1 {shlex.quote(str(file))})" '
        f"-d {shlex.quote(record)}"
    )
