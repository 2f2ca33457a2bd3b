"""Homes of the product with a part of its files."""

import shutil
from pathlib import Path

from tests.infra.twin import ROOT


def with_one_pool(home: Path, pool: str) -> Path:
    """Make a home that has one of Azure's pools: several tests share a server, and keep off each other's pools."""
    file = Path("infra", "work_pools", "azure", f"{pool}.json")
    (home / file).parent.mkdir(parents=True)
    shutil.copy(ROOT / file, home / file)
    return home
