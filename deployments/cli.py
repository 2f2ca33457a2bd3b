"""The ``mlops`` command: the stack, the deployments and a model's decisions from the shell."""

import argparse
import sys

from mlops import settings as settings_module
from mlops.adapters.ledger import Ledger
from mlops.adapters.store import open_store
from mlops.settings import SettingsError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; bad input ends with code 2 and a sentence."""
    parser = argparse.ArgumentParser(prog="mlops", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("up", "start or mend the stack"), ("down", "stop it"), ("status", "show its parts")):
        commands.add_parser(name, help=text)
    commands.add_parser("deploy", help="apply prefect.yaml")
    ledger = commands.add_parser("ledger", help="list the decisions on a model, oldest first")
    ledger.add_argument("model")
    ledger.add_argument("--kind", help="only gate, approval, release, rollback, verdict or retraining")
    options = parser.parse_args(arguments)
    try:
        if options.command == "ledger":
            return _ledger(options.model, options.kind)
        if options.command == "deploy":
            from deployments import apply

            return apply.main([])
        from deployments import local

        return local.main([options.command])
    except SettingsError as error:
        sys.stderr.write(f"mlops: {error}\n")
        return 2


def _ledger(model: str, kind: str | None) -> int:
    for entry in Ledger(open_store(settings_module.load().store_uri), model).entries(kind):
        actor = f" by {entry.actor}" if entry.actor else ""
        sys.stdout.write(f"{entry.time:%Y-%m-%d %H:%M:%S}  {entry.kind} {entry.subject}: {entry.decision}{actor}\n")
        sys.stdout.writelines(f"    {reason}\n" for reason in entry.reasons)
    return 0


if __name__ == "__main__":
    sys.exit(main())
