"""The demo's end: its table, its addresses, and ``demo.json`` for programs."""

import shlex
from typing import Any

import msgspec
from rich.table import Table

from deployments.demo import flights, iris_drift
from deployments.demo.flights import Story
from deployments.demo.history import DidItHelp, Retraining, Week
from deployments.demo.stage import Stage, prod
from mlops.adapters.services import key_file
from mlops.adapters.services.keys import key_of
from mlops.adapters.sign_in import servers_sign_in
from mlops.core.rivals import SINCE
from mlops.core.serving import ENVIRONMENTS
from mlops.settings import Settings
from tasks.context import open_model


def show(stage: Stage, models: tuple[str, ...], story: Story | None, changed: iris_drift.Story | None = None) -> None:
    """Print what the models went through, if played, and the addresses; write ``demo.json`` to the state directory."""
    settings = open_model(models[0]).settings
    described = {model: _environments(model) for model in models}
    if changed:
        _show_changed(stage, changed)
    if story:
        _show_story(stage, story)
    last = next((_report(settings, told) for told in (story, changed) if told and told.retrainings), "")
    stage.say(f"\nPrefect UI   {settings.prefect_ui}\nMLflow       {settings.mlflow_uri}")
    stage.say(f"Evidently    {settings.evidently_uri}\n             {last or settings.reports_uri}")
    if servers_sign_in(settings):
        stage.say("They ask for the user and password that `mlops sign-in` prints")
    for model in models:
        for environment in ENVIRONMENTS:
            stage.console.print(_curl(model, environment), soft_wrap=True)
    written = {
        "prefect_ui": settings.prefect_ui,
        "mlflow_ui": settings.mlflow_uri,
        "evidently_ui": settings.evidently_uri,
        "evidently_report": last,
        "models": described,
    }
    if changed:
        written["iris"] = {"windows": changed.windows} | _loop(changed)
    if story:
        written["flights"] = {"weeks": story.weeks} | _loop(story)
    (settings.state / "demo.json").write_bytes(msgspec.json.format(msgspec.json.encode(written)))
    (settings.state / "demo.json").chmod(0o600)  # It holds the keys.


def _loop(told: Story | iris_drift.Story) -> dict[str, Any]:
    first = told.retrainings[0] if told.retrainings else None
    return {"retraining": first, "retrainings": told.retrainings, "outcomes": told.outcomes}


def _report(settings: Settings, told: Story | iris_drift.Story) -> str:
    """The page of the last alarm."""
    model = flights.MODEL if isinstance(told, Story) else iris_drift.MODEL
    return f"{settings.reports_uri}/{model}/reports/drift/{told.retrainings[-1].alarm}.html"


def _show_story(stage: Stage, story: Story) -> None:
    stage.console.print(_table(story.weeks))
    for week in story.weeks:
        stage.say(f"[bold]week {week.week}, {week.verdict}[/]: {' '.join(week.reasons)}")
    stage.say("")
    _show_retrainings(stage, story.retrainings)
    stage.console.print(_outcomes(story.outcomes))


def _show_changed(stage: Stage, changed: iris_drift.Story) -> None:
    table = Table(title="Iris: windows of flowers that changed")
    for name in ("window", "rows", "version", "named right", "verdict"):
        table.add_column(name)
    for each in changed.windows:
        table.add_row(each.window, str(each.rows), each.version, f"{each.right:.0%}", each.verdict)
    stage.console.print(table)
    _show_retrainings(stage, changed.retrainings)
    stage.console.print(_outcomes(changed.outcomes))
    stage.say("[bold]Why PROD answers as it does, by the ledger[/]")
    for entry in changed.ledger:
        actor = f" by {entry.actor}" if entry.actor else ""
        stage.say(f"{entry.time:%H:%M:%S} {entry.kind} {entry.subject}: {entry.decision}{actor}", plain=True)
        for reason in entry.reasons:
            stage.say(f"         {reason}", plain=True)


def _show_retrainings(stage: Stage, retrainings: list[Retraining]) -> None:
    for each in retrainings:
        rows = f"the rows {each.rival}" if each.rival == SINCE else f"the {each.rival}"
        follows = "" if each.window == each.alarm else f" (follows up {each.alarm})"
        stage.say(
            f"{each.window}: the automation retrained version {each.from_version} to {each.to_version} on {rows}"
            f"{follows}; from the event to serving {each.seconds_event_to_serving:.0f} s"
        )


def _environments(model: str) -> dict[str, dict[str, Any]]:
    context = open_model(model)
    described: dict[str, dict[str, Any]] = {}
    for environment in ENVIRONMENTS:
        found = prod(context, environment)
        described[environment] = {
            "url": context.services.describe(model, environment).url,
            "key": key_of(context.settings, model, environment),
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


def _outcomes(outcomes: list[DidItHelp]) -> Table:
    table = Table(title="Did the retraining help?")
    for name in ("window", "asked by", "answer", "alarm was", "why"):
        table.add_column(name)
    for each in outcomes:
        was = {True: "true", False: "false", None: "–"}[each.alarm_true]
        table.add_row(each.alarm, each.asked_by, each.decision, was, each.reason)
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
