"""``mlops sign-in``: the user and password of the servers, for the browser."""

import argparse
import sys


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser("sign-in", help="print the servers' user:password, which their pages ask for")
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print it; nothing on the standard output when the servers ask for none."""
    from mlops import settings as settings_module
    from mlops.adapters.sign_in import servers_sign_in

    found = servers_sign_in(settings_module.load())
    if found is None:
        sys.stderr.write("mlops: the servers ask for no password\n")
        return 0
    sys.stdout.write(f"{found.text}\n")
    return 0
