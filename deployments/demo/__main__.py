"""``python -m deployments.demo``: set everything up, play both models, show what happened."""

import os
import sys

from deployments import local
from deployments.pools import PoolError
from deployments.stack.processes import ComponentError
from mlops import settings as settings_module
from mlops.adapters.services import ServiceError
from mlops.settings import Settings, SettingsError


def main() -> int:
    """Run the demo; a second run finds what the first did and shows it again."""
    try:
        settings = settings_module.load()
        local.up(settings)
    except (SettingsError, ComponentError, PoolError, ServiceError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    os.environ.update(settings.environment())
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: settings.prefect_api}):
        return _play(settings)


def _play(settings: Settings) -> int:
    from deployments import apply
    from deployments.demo import flights, iris, report, runs
    from deployments.demo.stage import Stage

    stage = Stage()
    try:
        with stage.step("deployments, schedules and automations"):
            apply.apply(settings)
        iris.play(stage)
        weeks, retrainings = flights.play(stage)
    except runs.DemoError as error:
        sys.stderr.write(f"demo: {error}\nPrefect UI: {settings.prefect_ui}\n")
        return 1
    report.show(stage, weeks, retrainings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
