"""Reads a variable library: the environment, and a file as Azure DevOps or a shell has it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mlops.core.provisioning import VariableError


def read_variables(
    file: str | None, environ: Mapping[str, str] | None = None
) -> tuple[dict[str, str], Mapping[str, str]]:
    """The variables of a file (none: empty) and the environment.

    The file is YAML: ``name: value`` pairs, at the top or under ``variables``, or Azure DevOps' list of
    ``- name:`` and ``value:``.

    Raises:
        VariableError: the file is missing or has another form; the message says where.
    """
    environ = os.environ if environ is None else environ
    return (_read(Path(file)) if file else {}), environ


def _read(file: Path) -> dict[str, str]:
    try:
        body = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise VariableError(f"{file} cannot be read as a variable library: {error}") from None
    body = body.get("variables", body) if isinstance(body, dict) else body
    if isinstance(body, list):
        return dict(_pair(file, number, each) for number, each in enumerate(body, 1) if _is_variable(each))
    if not isinstance(body, dict):
        raise VariableError(f"{file} has no variables: name: value pairs, or a list of name and value")
    return {str(name): str(value) for name, value in body.items()}


def _is_variable(each: Any) -> bool:
    """Groups and templates in Azure DevOps' list are the pipeline's to fetch."""
    return not (isinstance(each, dict) and ("group" in each or "template" in each))


def _pair(file: Path, number: int, each: Any) -> tuple[str, str]:
    if not isinstance(each, dict) or "name" not in each or "value" not in each:
        raise VariableError(f"{file}, entry {number}: needs name and value, and is {each!r}")
    return str(each["name"]), str(each["value"])
