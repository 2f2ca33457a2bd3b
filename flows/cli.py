"""Runs a flow from the command line: ``python -m flows.<name> --help``."""

import argparse
import inspect
import os
import sys
from contextlib import nullcontext
from typing import Any, cast

from prefect import Flow
from prefect.client.schemas.objects import State

from flows.api import prefect_api
from mlops import settings as settings_module


def run(flow: Flow[..., Any], arguments: list[str] | None = None) -> None:
    """Run a flow with parameters from the command line, on the Prefect server of the settings.

    Ends the process with code 1 when the flow run did not complete.
    """
    parameters = vars(_parser(flow).parse_args(arguments))
    # Whoever names a server by Prefect's own variable signs in by those, too.
    with nullcontext() if os.environ.get("PREFECT_API_URL") else prefect_api(settings_module.load()):
        state: State[Any] = cast(Any, flow)(**parameters, return_state=True)
    sys.stdout.write(f"{flow.name}: {state.name} {state.message or ''}\n")
    sys.exit(0 if state.is_completed() else 1)


def _parser(flow: Flow[..., Any]) -> argparse.ArgumentParser:
    """One option per parameter; those without a default are positional."""
    text = inspect.getdoc(flow.fn) or ""
    described = dict(line.strip().split(": ", 1) for line in text.partition("Args:")[2].splitlines() if ": " in line)
    parser = argparse.ArgumentParser(prog=f"python -m flows.{flow.name}", description=text.partition("\n")[0])
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        options: dict[str, Any] = {"help": described.get(name, "")}
        if parameter.default is False:
            options["action"] = "store_true"
        elif not required:
            options["default"] = parameter.default
        parser.add_argument(name if required else f"--{name.replace('_', '-')}", **options)
    return parser
