"""``mlops up|down|status|deploy``: the stack and the deployments."""

import argparse

TEXTS = {
    "up": "start or mend the stack",
    "down": "stop it",
    "status": "show its parts",
    "deploy": "apply prefect.yaml",
}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the commands."""
    for name, text in TEXTS.items():
        commands.add_parser(name, help=text).set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run one of them; return the exit code."""
    if options.command == "deploy":
        from deployments import apply

        return apply.main([])
    from deployments import local

    return local.main([options.command])
