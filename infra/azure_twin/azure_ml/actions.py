"""Requests to a workspace's services as the actions that roles name.

Microsoft publishes no such table for the services behind SDK v1. The names are those of its page on access to
workspaces (how-to-assign-roles): for submitting a run, for MLflow's operations, and in its examples of custom roles.
"""

import re

from infra.azure_twin.access import Asked
from infra.azure_twin.azure_ml.state import PROVIDER

SCOPE = rf"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{PROVIDER}/workspaces/[^/]+"
PATH = re.compile(rf"/(\w+)/v[\d.]+({SCOPE})(.*)", re.IGNORECASE)
SUBMIT = (
    "experiments/runs/submit/action", "experiments/runs/write", "environments/write", "metadata/artifacts/write",
    "metadata/snapshots/write",
)  # fmt: skip
RULES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("history", "GET", r"/experiment(s|ids)/[^/]+", ("experiments/read",)),
    ("history", "POST", r"/experiments/[^/:]+", ("experiments/write",)),
    ("history", "POST", r"/experiments:query", ("experiments/read",)),
    ("history", "POST", r".*/runs:query", ("experiments/runs/read",)),
    ("history", "GET", r".*", ("experiments/runs/read",)),
    ("history", "", r".*", ("experiments/runs/write",)),
    ("metric", "POST", r".*/(full|list)", ("experiments/runs/read",)),
    ("metric", "", r".*", ("experiments/runs/write",)),
    ("artifact", "GET", r".*", ("metadata/artifacts/read",)),
    ("artifact", "", r".*", ("metadata/artifacts/write",)),
    ("content", "GET", r".*", ("metadata/snapshots/read",)),
    ("content", "", r".*", ("metadata/snapshots/write",)),
    ("execution", "POST", r".*/snapshotrun", SUBMIT),
    ("execution", "", r".*", ("experiments/runs/write",)),
    ("datastore", "", r".*", ("datastores/read",)),
    ("modelmanagement", "GET", r".*", ("models/read",)),
    ("modelmanagement", "DELETE", r".*", ("models/delete",)),
    ("modelmanagement", "", r".*", ("models/write",)),
)
"""Service, method (empty: any), what follows the workspace in the path, actions; the first that fits counts."""


def asked(method: str, path: str) -> Asked:
    """What a request asks for.

    Raises:
        ValueError: it is to no service of a workspace.
    """
    found = PATH.fullmatch(path)
    if found:
        service, scope, rest = found.groups()
        for of, by, pattern, actions in RULES:
            if of == service and by in ("", method) and re.fullmatch(pattern, rest):
                return Asked(tuple(f"{PROVIDER}/workspaces/{each}" for each in actions), scope)
    raise ValueError(f"{method} {path} is no request to a service of a workspace")
