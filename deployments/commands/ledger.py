"""``mlops ledger``: a model's decisions."""

import argparse
import sys

from mlops.adapters.ledger import KINDS


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser("ledger", help="list the decisions on a model, oldest first")
    parser.add_argument("model")
    parser.add_argument("--kind", choices=KINDS, help="only these decisions")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the entries."""
    from mlops import settings
    from mlops.adapters.ledger import Ledger
    from mlops.adapters.store import open_store

    for entry in Ledger(open_store(settings.load().store_uri), options.model).entries(options.kind):
        actor = f" by {entry.actor}" if entry.actor else ""
        sys.stdout.write(f"{entry.time:%Y-%m-%d %H:%M:%S}  {entry.kind} {entry.subject}: {entry.decision}{actor}\n")
        sys.stdout.writelines(f"    {reason}\n" for reason in entry.reasons)
    return 0
