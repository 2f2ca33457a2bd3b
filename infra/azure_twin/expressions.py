"""Expressions of Resource Manager templates, as far as templates of container groups use them."""

import ast
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from infra.azure_twin.errors import documented

Functions = Mapping[str, Callable[..., Any]]


def evaluate(value: Any, functions: Functions) -> Any:
    """Replace every ``[expression]`` in a template's value.

    Raises:
        AzureError: an expression uses what the twin does not know.
    """
    if isinstance(value, dict):
        return {key: evaluate(each, functions) for key, each in value.items()}
    if isinstance(value, list):
        return [evaluate(each, functions) for each in value]
    if not isinstance(value, str) or not (value.startswith("[") and value.endswith("]")):
        return value
    if value.startswith("[["):
        return value[1:]
    try:
        # The language of templates is a subset of Python's: calls, strings, members and indexes.
        return _walk(ast.parse(value[1:-1], mode="eval").body, functions)
    except (SyntaxError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        raise documented(
            "template", reason=f"Unable to evaluate template language expression {value}: {error}"
        ) from None


def unique_string(*parts: str) -> str:
    """Thirteen letters and digits that depend on nothing but the parts."""
    digest = int.from_bytes(hashlib.sha256("-".join(parts).encode()).digest()[:10])
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "".join(letters[(digest >> 5 * index) & 31] for index in range(13))


def _walk(node: ast.expr, functions: Functions) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Call(ast.Name(name), args):
            called = {known.lower(): function for known, function in functions.items()}[name.lower()]
            return called(*(_walk(each, functions) for each in args))
        case ast.Attribute(inner, member):
            return _walk(inner, functions)[member]
        case ast.Subscript(inner, index):
            return _walk(inner, functions)[_walk(index, functions)]
    raise NotImplementedError(ast.dump(node))
