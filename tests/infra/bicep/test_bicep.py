"""The Bicep files: parsed, their resources held against Azure's published types, their modules against each other."""

import fnmatch
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pycep import BicepParser

from mlops.settings import load
from tests.infra.bicep.evaluate import Deployment
from tests.infra.bicep.types import ANY, MODELS, RESOURCES, ROOT, Kind, published

BICEP = ROOT / "infra/bicep"
FILES = sorted(BICEP.rglob("*.bicep"))
PARAMETERS = sorted((BICEP / "parameters").glob("*.bicepparam"))
OF_BICEP = {"name", "parent", "scope", "dependsOn"}
"""What a resource may have besides what its type says."""
EXPRESSION = {"function", "operator", "loop_type"}
"""Keys by which the parser's trees tell expressions from objects."""
Tree = dict[str, Any]


def parse(file: Path) -> Tree:
    tree: Tree = BicepParser().parse(text=file.read_text("utf-8"))
    return tree


TREES = {file: parse(file) for file in FILES}


@pytest.fixture(scope="module")
def types() -> dict[str, Kind]:
    if not MODELS.exists():
        pytest.fail(f"{MODELS} is not installed: run `make tools` (make test does)", pytrace=False)
    return published()


def body_of(config: Tree) -> Tree:
    """A resource's or module's own object, of one that is made in a loop or on a condition, too."""
    while "loop_type" in config or "condition" in config:
        config = config["config"]
    return config


def problems(value: Any, kind: Kind, path: str) -> Iterator[str]:
    """What a value has that its type does not allow; what is computed when it is deployed is not judged."""
    if is_expression(value) and value.get("operator", {}).get("type") == "conditional":
        operands = value["operator"]["operands"]
        yield from problems(operands["true_value"], kind, path)
        yield from problems(operands["false_value"], kind, path)
        return
    if value is None or kind["kind"] == "any" or is_expression(value):
        return
    if kind["kind"] == "object" and isinstance(value, dict):
        yield from object_problems(value, kind, path)
    elif kind["kind"] == "map" and isinstance(value, dict):
        for name, inner in value.items():
            yield from problems(inner, kind["item"], f"{path}.{name}")
    elif kind["kind"] == "list" and isinstance(value, list):
        for number, inner in enumerate(value):
            yield from problems(inner, kind["item"], f"{path}[{number}]")
    elif isinstance(value, dict | list) or not is_scalar(value, kind["kind"]):
        yield f"{path}: {value!r} is no {kind['kind']}"
    elif kind.get("values") and is_literal(value) and value not in kind["values"]:
        yield f"{path}: {value!r} is none of {', '.join(kind['values'])}"


def object_problems(value: Tree, kind: Kind, path: str) -> Iterator[str]:
    for name, inner in value.items():
        field = kind["fields"].get(name.strip("'"))
        if field is None:
            yield f"{path}.{name}: there is no such property"
        elif field.get("readOnly"):
            yield f"{path}.{name}: only Azure writes it"
        else:
            yield from problems(inner, field, f"{path}.{name}")
    for name, field in kind["fields"].items():
        if field.get("required") and not field.get("readOnly") and name not in value:
            yield f"{path}: {name} is missing"


def is_expression(value: Any) -> bool:
    """Whether it is computed; a property of an object may have such a name, too."""
    return isinstance(value, dict) and any(isinstance(value.get(name), dict) for name in EXPRESSION)


def is_scalar(value: Any, kind: str) -> bool:
    """Whether a literal fits; a string may be the name of a parameter of any type."""
    if isinstance(value, bool):
        return kind == "bool"
    return kind in ("int", "float") if isinstance(value, int) else isinstance(value, str)


def is_literal(value: Any) -> bool:
    """Whether a string is one, and no name of a parameter: those begin in lower case."""
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Z][A-Za-z0-9]*", value))


def resources(file: Path) -> list[tuple[str, Tree]]:
    return [(f"{each['type']}@{each['api_version']}", each) for each in TREES[file].get("resources", {}).values()]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_resources_are_what_their_published_types_allow(file: Path, types: dict[str, Kind]) -> None:
    found: list[str] = []
    for name, each in resources(file):
        assert name in RESOURCES, f"{file.name}: {name} has no type in tests/infra/bicep/types.py"
        assert name.rpartition("@")[2] in types[name]["versions"], "the type is of another API version"
        if each["existing"]:
            continue
        body = {key: value for key, value in body_of(each["config"]).items() if key not in OF_BICEP}
        fields = types[name]["fields"] | {"location": {"kind": "string"}}
        found += problems(body, {"kind": "object", "fields": fields}, name)
    assert found == []


def test_the_check_finds_what_is_wrong(types: dict[str, Kind]) -> None:
    kind = types["Microsoft.Storage/storageAccounts@2025-06-01"]
    good: Tree = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope", "properties": {}}
    assert list(problems(good, kind, "s")) == []
    wrong = {"allowBlobPublicAcces": False, "isHnsEnabled": 1, "networkAcls": {"bypass": "None"}}
    assert list(problems(good | {"properties": wrong, "kind": []}, kind, "s")) == [
        "s.kind: [] is no string",
        "s.properties.allowBlobPublicAcces: there is no such property",
        "s.properties.isHnsEnabled: 1 is no bool",
        "s.properties.networkAcls: defaultAction is missing",
    ]
    identity = types["Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30"]
    told = {"location": "westeurope", "properties": {"clientId": "c"}}
    assert list(problems(told, identity, "i")) == ["i.properties.clientId: only Azure writes it"]
    assert list(problems({"kind": "StorageV2", "location": "x"}, kind, "s")) == ["s: sku is missing"]
    budget = types["Microsoft.Consumption/budgets@2024-08-01"]["fields"]["properties"]
    assert "'Weekly' is none of" in next(problems({"timeGrain": "Weekly"}, budget, "b"))
    assert list(problems({"function": {}}, kind, "s")) == []
    chosen = {
        "operator": {"type": "conditional", "operands": {"true_value": None, "false_value": {"kind": "StorageV2"}}}
    }
    assert list(problems(chosen, kind, "s")) == ["s: sku is missing", "s: location is missing"]
    assert list(problems([], ANY, "s")) == []


def test_every_type_is_used() -> None:
    assert {name for file in FILES for name, _ in resources(file)} == set(RESOURCES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_modules_are_given_what_they_declare_and_outputs_exist(file: Path) -> None:
    tree, text = TREES[file], file.read_text("utf-8")
    inner: dict[str, Tree] = {}
    for name, module in tree.get("modules", {}).items():
        inner[name] = TREES[(file.parent / module["detail"]["path"]).resolve()]
        declared = inner[name].get("parameters", {})
        given = body_of(module["config"]).get("params", {})
        assert given.keys() <= declared.keys(), name
        needed = {each for each, told in declared.items() if told["default"] is None}
        assert needed <= given.keys(), name
    for name, output in re.findall(r"\b(\w+)\.outputs\.(\w+)", text):
        assert output in inner[name]["outputs"], f"{name} has no output {output}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_is_declared_in_vain_and_modules_are_small(file: Path) -> None:
    tree, text = TREES[file], file.read_text("utf-8")
    body = "\n".join(re.sub(r"^(param|var) \w+", "", line) for line in text.splitlines())
    names = [*tree.get("parameters", {}), *tree.get("variables", {})]
    assert [name for name in names if not re.search(rf"\b{name}\b", body)] == []
    assert len(text.splitlines()) <= 140


@pytest.mark.parametrize("file", PARAMETERS, ids=lambda file: file.name)
def test_parameters_are_those_of_the_main_file(file: Path) -> None:
    first, _, rest = file.read_text("utf-8").partition("\n")
    assert first == "using '../main.bicep'"
    given = BicepParser().parse(text=re.sub(r"(?m)^param ", "var ", rest))["variables"]
    declared = TREES[BICEP / "main.bicep"]["parameters"]
    assert given.keys() <= declared.keys()
    assert {name for name, told in declared.items() if told["default"] is None} <= given.keys()
    assert given["environment"]["value"] == file.stem
    secret = [name for name, told in declared.items() if {"type": "secure"} in told["decorators"]]
    assert secret == ["serversSignIn", "databasePassword"]
    for name in secret:
        assert given[name]["value"]["function"]["type"] == "readEnvironmentVariable"


def test_the_three_environments_have_parameters() -> None:
    assert [file.stem for file in PARAMETERS] == ["dev", "prod", "uat"]


def test_secrets_are_secure_parameters_everywhere_and_no_outputs() -> None:
    for file, tree in TREES.items():
        for name, told in tree.get("parameters", {}).items():
            if re.search(r"password|signin$", name, re.IGNORECASE):
                assert {"type": "secure"} in told["decorators"], f"{file.name}: {name}"
        for name, output in tree.get("outputs", {}).items():
            assert "password" not in f"{name} {output}".lower(), f"{file.name}: {name}"


def roles() -> Tree:
    tree: Tree = TREES[BICEP / "modules/roles.bicep"]["variables"]
    return tree


def test_roles_are_assigned_in_one_file_and_none_is_an_owners() -> None:
    assigned = [
        file.name for file in FILES for name, _ in resources(file) if name.startswith("Microsoft.Authorization/role")
    ]
    assert set(assigned) == {"roles.bicep"}
    broad = {
        "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
        "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    }
    given = roles()["role"]["value"]
    assert not broad.keys() & set(given.values())


def test_scoring_services_write_to_the_log_of_predictions_alone() -> None:
    """The condition covers every way of writing that the role has, and admits keys of the log and no other."""
    known = json.loads((ROOT / "infra/azure_twin/builtin_roles.json").read_bytes())["roles"]
    role = known[roles()["role"]["value"]["blobDataContributor"]]
    told = (BICEP / "modules/scoring-writes.txt").read_text("utf-8")
    writes = {each for each in role["dataActions"] if not each.endswith("/read")}
    assert set(re.findall(r"!\(ActionMatches\{'([^']+)'\}\)", told)) == writes
    assert told.count("(") == told.count(")")

    def admits(key: str) -> bool:
        patterns = {kind: re.findall(rf"{kind} '([^']+)'", told) for kind in ("StringLike", "StringNotLike")}
        like = {kind: [fnmatch.fnmatchcase(key, each) for each in found] for kind, found in patterns.items()}
        return any(like["StringLike"]) and not any(like["StringNotLike"])

    logged = [f"{kind}/date=2026-03-01/prod-1.parquet" for kind in ("predictions", "feedback")]
    assert all(admits(f"{model}/{key}") for key in logged for model in ("iris", "ledger"))
    design = ("bundles", "landing", "ledger/gate", "quarantine", "reports", "serving", "snapshots/parts")
    for folder in design:
        assert not any(admits(f"iris/{folder}/{key}") for key in ("x.json", *logged)), folder
    assert not any(admits(f".prefect/{key}") for key in ("x", *logged))


def test_the_documentation_lists_every_role() -> None:
    text = (ROOT / "docs/azure.md").read_text("utf-8")
    for identifier in roles()["role"]["value"].values():
        assert identifier in text


def test_the_output_is_the_settings_file_by_the_line_of_the_documentation(tmp_path: Path) -> None:
    given: Tree = {"environment": "dev", "serversSignIn": "", "databasePassword": "", "imageTag": "1a2b3c4"}
    given |= dict.fromkeys(("databaseSku", "databaseGeoBackup", "storageSku", "registrySku", "servers"))
    outputs = {
        "apps": {"id": "", "domain": "cool-1.westeurope.azurecontainerapps.io"},
        "identities": {"ids": {"scoring": "/s", "flows": "/f"}, "clients": {}, "principals": {}, "names": {}},
        "registry": {"server": "cr.azurecr.io", "name": "cr", "id": ""},
        "store": {"name": "st"},
        "vault": {
            "uri": "https://kv.vault.azure.net/",
            "name": "kv",
            "id": "",
            "databasesName": "",
            "databasesUri": "",
        },
        "workspace": {"name": "w"},
        "logs": {"insightsId": "", "workspaceName": ""},
        "postgres": {"host": ""},
    }
    main = Deployment(BICEP / "main.bicep", given | {"monthlyBudget": 1, "alertEmails": []}, outputs)
    line = re.search(r"sed -nE '([^']+)'", (ROOT / "docs/azure.md").read_text("utf-8"))
    assert line
    told = json.dumps(main.output("settings"), indent=2)
    done = subprocess.run(["sed", "-nE", line[1]], input=told, capture_output=True, text=True, check=True)
    file = tmp_path / "mlops.toml"
    file.write_text(done.stdout)
    settings = load({"MLOPS_SETTINGS": str(file)})
    assert settings.prefect_api == "https://mlops-dev-prefect.cool-1.westeurope.azurecontainerapps.io/api"
    assert settings.store_uri == "https://st.blob.core.windows.net/mlops"
    assert (settings.azure_flow_image, settings.azure_servers_secret) == ("mlops-flows:1a2b3c4", "servers-sign-in")
    assert len(done.stdout.splitlines()) == len(main.output("settings"))
