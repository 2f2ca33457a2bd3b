"""The digest of the code that trains, part of a version's lineage."""

import hashlib
from functools import cache
from pathlib import Path

import mlops.core


@cache
def code_digest() -> str:
    """SHA-256 over the files of ``mlops/core`` and the spec's types, in the order of their names."""
    core = Path(mlops.core.__file__).parent
    digest = hashlib.sha256()
    for file in sorted([*core.glob("*.py"), core.parent / "spec.py"]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
