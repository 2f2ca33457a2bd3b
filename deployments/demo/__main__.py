"""``python -m deployments.demo``: set everything up, play both models or those asked for, show what happened."""

import argparse
import os
import sys

from deployments import local
from deployments.demo import MODELS
from deployments.pools import PoolError
from deployments.stack.processes import ComponentError
from flows.api import prefect_api
from mlops import settings as settings_module
from mlops.adapters.azure_vault import VaultError
from mlops.adapters.services import ServiceError
from mlops.adapters.sign_in import SignInError
from mlops.settings import Settings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; a second run finds what the first did and shows it again."""
    parser = argparse.ArgumentParser(prog="python -m deployments.demo", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; both unless given")
    parser.add_argument(
        "--drift", action="store_true", help="then let iris' flowers change, and wait for the loop's answer"
    )
    told = parser.parse_args(arguments)
    models = tuple(told.models) or MODELS
    if unknown := set(models) - set(MODELS):
        parser.error(f"the demo has no model {', '.join(sorted(unknown))}")
    if told.drift and "iris" not in models:
        parser.error("--drift is about iris, which is not among the models")
    try:
        settings = settings_module.load()
        local.up(settings)
    except (SettingsError, ComponentError, PoolError, ServiceError, SignInError, VaultError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    os.environ.update(settings.environment())
    with prefect_api(settings):
        return _play(settings, models, told.drift)


def _play(settings: Settings, models: tuple[str, ...], drift: bool) -> int:
    from deployments import apply
    from deployments.demo import flights, iris, iris_drift, report, runs
    from deployments.demo.stage import Stage

    stage = Stage()
    try:
        with stage.step("deployments, schedules and automations"):
            apply.apply(settings)
        if iris.MODEL in models:
            iris.play(stage)
        changed = iris_drift.play(stage) if drift else None
        story = flights.play(stage) if flights.MODEL in models else None
    except runs.DemoError as error:
        sys.stderr.write(f"demo: {error}\nPrefect UI: {settings.prefect_ui}\n")
        return 1
    report.show(stage, models, story, changed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
