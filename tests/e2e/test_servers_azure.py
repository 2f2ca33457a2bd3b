"""The servers and workers of infra/bicep, as its files say, run as container apps of the twin.

What prefect.bicep makes is PUT to Resource Manager; then a user goes on as docs/azure.md tells: settings from the
outputs, ``make deploy``, runs. All that is asked of the servers comes from elsewhere and has to sign in.
"""

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.stack import postgres
from deployments.stack.components import POOLS
from deployments.stack.processes import Processes
from infra.azure_twin.rehearsal import landing_zone
from infra.azure_twin.rehearsal.landing_zone import ACCOUNT, GROUP, REGION, REGISTRY, VAULT_URL, Subscription
from mlops.settings import Settings
from tests.e2e.rehearsal import ROOT, Rehearsal
from tests.e2e.state_folders import owned_processes, state_folder
from tests.infra.bicep.evaluate import PLACE, Deployment
from tests.waiting import eventually

BICEP = ROOT / "infra/bicep"
BASE = "mlops-dev"
SIGN_IN = ("mlops", "a:word in the vault")
SERVERS = ("prefect", "mlflow", "reports", "evidently")
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
OPEN = {"prefect": "/api/ready", "mlflow": "/health", "reports": "/healthz", "evidently": "/api/version"}
LAND = """
from mlops import settings
from mlops.adapters.datasets import iris_csv
from mlops.adapters.store import open_store
open_store(settings.load().store_uri).put("iris/landing/iris.csv", iris_csv())
"""
REPORT = """
from mlops import settings
from mlops.adapters.store import open_store
open_store(settings.load().store_uri).put("iris/reports/page.html", b"<h1>a report</h1>")
"""
pytestmark = pytest.mark.timeout(900)


class World:
    """A subscription in which the servers run, and a user's checkout beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rehearsal = Rehearsal(folder / "azure")
        self.rehearsal.call("up")
        self.environment = self.rehearsal.environment()
        self.azure = Subscription(self.environment)
        self.databases = Settings(home=ROOT, state_dir=folder / "databases")
        self.settings: dict[str, str] = {}

    def deploy(self) -> None:
        """What the second ``az deployment group create`` makes."""
        processes = Processes(self.databases.state)
        component = postgres.component(self.databases)
        processes.start(component)
        processes.await_ready([component], lambda _: None)
        for name, driver in (("prefect", "asyncpg"), ("mlflow", "psycopg2")):
            postgres.create_database(self.databases, name)
            url = postgres.url(self.databases, name, driver)
            self.azure.put_secret(f"{name}-database-url", url, landing_zone.DATABASES_VAULT_URL)
        self.azure.put_secret(landing_zone.SIGN_IN, ":".join(SIGN_IN))
        apps = self.azure.id(f"Microsoft.App/managedEnvironments/{BASE}-apps")
        made = self.azure.call("PUT", apps, "2025-01-01", {"location": REGION, "properties": {}})
        ids = {who: landing_zone.identity(self.azure, who) for who in landing_zone.WHO}
        read = {who: self.azure.call("GET", each, "2023-01-31")["properties"] for who, each in ids.items()}
        outputs: dict[str, Any] = {
            "apps": {"id": apps, "domain": made["properties"]["defaultDomain"]},
            "identities": {
                "ids": ids,
                "clients": {who: each["clientId"] for who, each in read.items()},
                "principals": {},
                "names": {},
            },
            "registry": {"server": f"{REGISTRY}.azurecr.io", "name": REGISTRY, "id": ""},
            "store": {"name": ACCOUNT},
            "vault": {
                "uri": f"{VAULT_URL}/",
                "name": landing_zone.VAULT,
                "id": "",
                "databasesName": landing_zone.DATABASES_VAULT,
                "databasesUri": f"{landing_zone.DATABASES_VAULT_URL}/",
            },
            "workspace": {"name": landing_zone.WORKSPACE},
            "logs": {"insightsId": "", "workspaceName": ""},
            "postgres": {"host": ""},
        }
        told = self.environment
        place = PLACE | {
            "subscription()": {"subscriptionId": told["AZURE_SUBSCRIPTION_ID"], "tenantId": told["AZURE_TENANT_ID"]},
            "resourceGroup()": {"id": self.azure.group, "name": GROUP, "location": REGION},
        }
        sizes = {"databaseSku": {}, "databaseGeoBackup": "", "storageSku": "", "registrySku": "", "monthlyBudget": 1}
        secret = {"serversSignIn": ":".join(SIGN_IN), "databasePassword": ""}
        given = {"environment": "dev", "servers": 1, "alertEmails": [], "imageTag": "latest", **sizes, **secret}
        main = Deployment(BICEP / "main.bicep", given, outputs, place)
        ((file, parameters),) = [each for each in main.modules if each[0].name == "prefect.bicep"]
        for app in Deployment(file, parameters, place=place).inner():
            ((kind, body),) = app.resources
            name = body.pop("name")
            path, _, version = kind.partition("@")
            self.azure.call("PUT", self.azure.id(f"{path}/{name}"), version, body)
        self.settings = main.output("settings")

    def write_settings(self) -> None:
        """As docs/azure.md says: the deployment's output, through its line of sed, is mlops.toml."""
        line = re.search(r"sed -nE '([^']+)'", (ROOT / "docs/azure.md").read_text("utf-8"))
        assert line
        told = json.dumps(self.settings, indent=2)
        done = subprocess.run(["sed", "-nE", line[1]], input=told, capture_output=True, text=True, check=True)
        (self.folder / "mlops.toml").write_text(done.stdout)

    def run(self, *command: str) -> str:
        """A command on the user's laptop, who is signed in to Azure and has told no password."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("MLOPS_", "PREFECT_", "MLFLOW_"))}
        local = {"MLOPS_SETTINGS": str(self.folder / "mlops.toml"), "MLOPS_STATE_DIR": str(self.folder / "laptop")}
        local |= {"PREFECT_HOME": str(self.folder / "laptop" / "prefect"), "ML_COMPUTEIDLESECS": "60"}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=own | self.environment | local,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def ask(self, server: str, path: str, auth: tuple[str, str] | None = SIGN_IN, **body: Any) -> httpx.Response:
        """One request to a server under its name of Azure."""
        url = self.settings[f"{server}_url"].removesuffix("/api") + path
        context = ssl.create_default_context(cafile=self.environment["SSL_CERT_FILE"])
        proxy = self.environment["HTTPS_PROXY"]
        with httpx.Client(proxy=proxy, verify=context, trust_env=False, timeout=20, auth=auth) as client:
            return client.post(url, json=body["json"]) if body else client.get(url)

    def answers(self, server: str) -> bool:
        try:
            return self.ask(server, OPEN[server], None).is_success
        except httpx.HTTPError:
            return False

    def logs(self) -> str:
        """What the apps printed last."""
        return "\n".join(
            f"{file.name}\n{file.read_text('utf-8', 'replace')[-2000:]}"
            for file in (self.rehearsal.folder / "logs").glob(f"{BASE}-*.log")
        )

    def complete(self, *words: str) -> None:
        """Start a run, wait until it is over, and see that it completed."""
        done = self.run(str(Path(sys.executable).with_name("mlops")), "run", "--wait", *words)
        assert done.splitlines()[-1].startswith("Completed"), done + self.logs()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with state_folder() as folder:
        world = World(folder)
        try:
            world.deploy()
            world.write_settings()
            for server in SERVERS:
                assert eventually(lambda server=server: world.answers(server), 120), world.logs()  # type: ignore[misc]
            yield world
        finally:
            world.rehearsal.call("down")
            Processes(world.databases.state).stop("postgres")
            assert owned_processes(folder) == []


@pytest.mark.parametrize(
    ("server", "path"),
    [
        ("prefect", "/api/work_pools/training"),
        ("prefect", "/api/admin/version"),
        ("mlflow", "/"),
        ("mlflow", "/api/2.0/mlflow/experiments/search?max_results=1"),
        ("reports", "/iris/reports/page.html"),
        ("evidently", "/"),
        ("evidently", "/api/projects"),
    ],
)
def test_servers_that_everybody_reaches_answer_nobody_who_does_not_sign_in(
    world: World, server: str, path: str
) -> None:
    for auth in (None, ("mlops", "another"), ("", "")):
        assert world.ask(server, path, auth).status_code == 401


def test_their_pages_are_shown_to_who_does(world: World) -> None:
    world.run(sys.executable, "-c", REPORT)
    assert "<title>Prefect" in world.ask("prefect", "/", None).text
    assert "<title>MLflow" in world.ask("mlflow", "/").text
    assert world.ask("reports", "/iris/reports/page.html").text == "<h1>a report</h1>"
    assert "<title>Evidently" in world.ask("evidently", "/").text
    # As MLflow's page asks, whose browser names where it comes from.
    url = f"{world.settings['mlflow_url']}"
    assert world.ask("mlflow", "/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 1}).status_code == 200
    assert url.startswith("https://mlops-dev-mlflow.twin-")


def test_flow_runs_elsewhere_reach_them(world: World) -> None:
    """Ingestion in a container group and training in a job, started from a laptop that has no password but Azure's."""
    told = world.run(sys.executable, "-m", "deployments.apply")
    assert told.startswith("deployed: ")
    world.run(sys.executable, "-c", LAND)
    world.complete("ingestion", "model=iris")
    world.run(sys.executable, "-m", "flows.provision", "iris")
    world.complete("training", "model=iris")
    found = world.ask("mlflow", "/api/2.0/mlflow/model-versions/search").json()["model_versions"]
    assert [(each["name"], each["version"]) for each in found] == [("iris", "1")]
    bundle = world.ask("mlflow", f"/api/2.0/mlflow/artifacts/list?run_id={found[0]['run_id']}&path=bundle").json()
    assert "bundle/model.onnx" in {each["path"] for each in bundle["files"]}


def test_the_pools_are_those_of_the_settings(world: World) -> None:
    """And not what the workers would have made, which were there first."""
    limits = {name: world.ask("prefect", f"/api/work_pools/{name}").json()["concurrency_limit"] for name in POOLS}
    assert limits == {"operations": 4, "training": 2}


def test_no_password_is_in_what_azure_was_sent(world: World) -> None:
    """Not even in the secure values of a template, which Resource Manager keeps and shows."""
    asked = httpx.get(f"{world.environment['HTTPS_PROXY']}/twin/exchanges", trust_env=False, timeout=60).json()
    by_arm = [each for each in asked if "vault.azure.net" not in each["host"]]
    assert len(by_arm) > 20
    assert any("prefect-ingestion" in each["path"] for each in by_arm)
    assert SIGN_IN[1] not in json.dumps(by_arm)


VAULT, REGISTRIES = "Microsoft.KeyVault/vaults", "Microsoft.ContainerRegistry/registries"


@pytest.mark.parametrize(
    ("who", "scope", "app", "field"),
    [
        ("server", f"{VAULT}/{landing_zone.VAULT}", "prefect", "configuration.secrets"),
        ("server", f"{VAULT}/{landing_zone.DATABASES_VAULT}", "mlflow", "configuration.secrets"),
        ("worker", VAULT, "operations", "configuration.secrets"),
        ("server", REGISTRIES, "mlflow", "template.containers.main.image"),
        ("worker", REGISTRIES, "training", "template.containers.main.image"),
    ],
)
def test_an_app_whose_identity_lacks_a_role_is_refused(
    world: World, who: str, scope: str, app: str, field: str
) -> None:
    path = world.azure.id(f"Microsoft.App/containerApps/{BASE}-{app}")
    body = world.azure.call("GET", path, "2025-01-01")
    for name in ("id", "name", "type"):
        body.pop(name)
    with _without(world.azure, who, scope):
        answer = world.azure.ask("PUT", path, "2025-01-01", body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "InvalidParameterValueInContainerTemplate"
    assert f"Field '{field}' is invalid" in error["message"]
    assert world.azure.ask("PUT", path, "2025-01-01", body).is_success


@contextmanager
def _without(azure: Subscription, who: str, scope: str) -> Iterator[None]:
    """Let an identity lack its roles on a scope."""
    principal = azure.call("GET", landing_zone.identity(azure, who), "2023-01-31")["properties"]["principalId"]
    kind = "Microsoft.Authorization/roleAssignments"
    found = [
        each
        for each in azure.call("GET", f"{azure.root}/providers/{kind}", "2022-04-01")["value"]
        if each["properties"]["principalId"] == principal
        # A reader of the group may pull, too.
        and (scope in each["properties"]["scope"] or each["properties"]["roleDefinitionId"].endswith(READER))
    ]
    assert found
    for each in found:
        azure.call("DELETE", each["id"], "2022-04-01")
    try:
        yield
    finally:
        for each in found:
            azure.call("PUT", each["id"], "2022-04-01", {"properties": each["properties"]})
