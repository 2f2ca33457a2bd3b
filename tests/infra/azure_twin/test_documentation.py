"""What docs/azure-twin.md says is what the twin answers."""

import re
from pathlib import Path

import pytest

from infra.azure_twin.azure_ml.errors import DOCUMENTED as AZURE_ML
from infra.azure_twin.entra_errors import KNOWN
from infra.azure_twin.errors import DOCUMENTED, Documented
from infra.azure_twin.faults import SERVICE, TRANSPORT
from infra.azure_twin.services.azure_ml import FAULTS
from tests.infra.azure_twin.sources import CHECKED, MEANING

ROOT = Path(__file__).parents[3]
SOURCES = (".py", ".json", ".yaml", ".Dockerfile")
PAGE = (ROOT / "docs" / "azure-twin.md").read_text("utf-8")


@pytest.mark.parametrize(("name", "error"), [*DOCUMENTED.items(), *AZURE_ML.items()])
def test_each_error_is_listed_with_its_source(name: str, error: Documented) -> None:
    assert f"| {name} | {error.status} | `{error.code}` | <{error.source}> | {CHECKED[name]} |" in PAGE
    assert error.source.startswith("https://learn.microsoft.com/")


def test_what_was_found_of_each_error_is_said_in_one_of_the_words_that_are_explained() -> None:
    assert set(CHECKED) == {*DOCUMENTED, *AZURE_ML, *KNOWN}
    assert set(CHECKED.values()) <= set(MEANING)
    assert all(f"| {word} | {meaning} |" in PAGE for word, meaning in MEANING.items())


@pytest.mark.parametrize("name", KNOWN)
def test_each_error_of_entra_is_listed_with_its_source(name: str) -> None:
    error = KNOWN[name]
    assert f"| {name} | {error.status} | `AADSTS{error.code}` | <{error.source}> | {CHECKED[name]} |" in PAGE


@pytest.mark.parametrize(("kind", "meaning"), (TRANSPORT | SERVICE | FAULTS).items())
def test_each_fault_is_listed(kind: str, meaning: str) -> None:
    assert f"| `{kind}` | {meaning} |" in PAGE


@pytest.mark.parametrize("place", ["mlops", "tasks", "flows", "deployments", "infra/work_pools", "infra/docker"])
def test_nothing_that_runs_on_azure_knows_the_twin(place: str) -> None:
    files = [file for file in (ROOT / place).rglob("*") if file.suffix in SOURCES]
    assert files
    knowing = [str(file) for file in files if re.search(r"\b(azure_)?twin\b", file.read_text("utf-8"), re.IGNORECASE)]
    assert knowing == []
