"""The ``mlops`` command: the stack, runs of flows, a model's decisions, drift and replay of any file."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import cast

from deployments.commands import drift, ledger, replay, run, sign_in, stack
from mlops.adapters.azure_vault import VaultError

BAD_INPUT = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; bad input ends with code 2 and a sentence."""
    parser = argparse.ArgumentParser(prog="mlops", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (stack, sign_in, run, ledger, drift, replay):
        module.add(commands)
    options = parser.parse_args(arguments)
    try:
        return cast(Callable[[argparse.Namespace], int], options.run)(options)
    except BrokenPipeError:
        # The reader (`head`) has enough; a second error at the flush of exit would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except VaultError as error:
        sys.stderr.write(f"mlops: {error}\n")
        return 1
    except ValueError as error:  # The base of all that says which input is bad: files, specs, settings.
        if not _is_ours(error):
            raise
        sys.stderr.write(f"mlops: {error}\n")
        return BAD_INPUT


def _is_ours(error: ValueError) -> bool:
    return type(error).__module__.startswith("mlops.")


if __name__ == "__main__":
    sys.exit(main())
