"""The work pools of the local profile."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import kubernetes_validate
import pytest

from deployments import pools
from mlops.settings import Settings
from tests.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["training", "operations"])
def test_local_pool_runs_flows_in_the_checkout_with_the_workers_python(name: str, tmp_path: Path) -> None:
    from prefect.workers.process import ProcessWorker

    pool = pools.read(ROOT / "infra/work_pools/local" / f"{name}.json", Settings(home=tmp_path))
    variables = pool.base_job_template["variables"]["properties"]

    assert (pool.name, pool.type) == (name, "process")
    assert variables["command"]["default"] == "python -m prefect.engine"
    assert variables["working_dir"]["default"] == str(tmp_path)
    expected = ProcessWorker.get_default_base_job_template()
    assert pool.base_job_template["job_configuration"] == expected["job_configuration"]
    assert variables.keys() == expected["variables"]["properties"].keys()


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "process"}', '{"type": "process", "base_job_template": {}}'])
def test_invalid_pool_names_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(text)

    with pytest.raises(pools.PoolError, match=r"training\.json is no work pool"):
        pools.read(tmp_path / "training.json", Settings(home=tmp_path))


def test_profile_without_pools_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(pools.PoolError, match="no work pools in"):
        pools.ensure_pools(Settings(home=tmp_path))


@pytest.fixture
def closed_server(tmp_path: Path) -> Iterator[str]:
    """A Prefect server that asks for a user and password."""
    port, log = free_port(), tmp_path / "server.log"
    environment = {
        "PATH": os.defpath,
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_API_AUTH_STRING": "mlops:a-password",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}/api"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        assert eventually(lambda: answers() or server.poll() is not None, 180), log.read_text()
        assert server.poll() is None, log.read_text()
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_pools_are_made_on_a_server_that_asks_for_a_password(closed_server: str, tmp_path: Path) -> None:
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings

    settings = Settings(home=ROOT, state_dir=tmp_path, prefect_url=closed_server)
    with pytest.raises(PrefectHTTPStatusError, match="401"):
        pools.ensure_pools(settings)
    with temporary_settings({PREFECT_API_AUTH_STRING: "mlops:a-password"}):
        assert pools.ensure_pools(settings) == ["operations", "training"]
        assert pools.ensure_pools(settings) == []


AZURE = {
    "azure_subscription": "s-1",
    "azure_resource_group": "rg",
    "azure_registry": "cr.azurecr.io",
    "azure_identity": "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.ManagedIdentity/x/scoring",
    "azure_flow_identity": "/subscriptions/s-1/resourceGroups/rg/providers/Microsoft.ManagedIdentity/x/flows",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # azureml.core, which prefect-azure imports
def test_azure_pool_is_the_workers_own_with_the_settings_filled_in(tmp_path: Path) -> None:
    from prefect_azure.workers.container_instance import AzureContainerWorker

    settings = Settings(home=tmp_path, profile="azure", store="https://st.blob.core.windows.net/mlops", **AZURE)
    pool = pools.read(ROOT / "infra/work_pools/azure/operations.json", settings)
    variables = pool.base_job_template["variables"]["properties"]

    expected = AzureContainerWorker.get_default_base_job_template()
    assert pool.type == AzureContainerWorker.type
    assert variables.keys() == expected["variables"]["properties"].keys()
    assert pool.base_job_template["job_configuration"].keys() == expected["job_configuration"].keys()
    assert variables["image"]["default"] == "cr.azurecr.io/mlops-flows:latest"
    assert variables["image_registry"]["default"] == {
        "registry_url": "cr.azurecr.io",
        "identity": AZURE["azure_flow_identity"],
    }
    assert variables["identities"]["default"] == [AZURE["azure_flow_identity"]]
    environment = variables["env"]["default"]
    assert environment["MLOPS_STORE"] == "https://st.blob.core.windows.net/mlops"
    assert environment["MLOPS_AZURE_SIGN_IN"] == "managed_identity"
    assert not {"MLOPS_HOME", "MLOPS_STATE_DIR", "MLOPS_HOST", "MLOPS_PREFECT_PORT"} & set(environment)


def test_jobs_get_the_password_of_the_prefect_server_from_the_vault(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, profile="azure", azure_servers_secret="servers-sign-in", azure_key_vault="https://v.vault.azure.net",
        azure_workspace="w", **AZURE,
    )  # fmt: skip
    pool = pools.read(ROOT / "infra/work_pools/azure/training.json", settings)
    variables = pool.base_job_template["variables"]["properties"]
    assert variables["secret_env"]["default"] == {"PREFECT_API_AUTH_STRING": "servers-sign-in"}


@pytest.mark.parametrize("name", ["azure/training", "azure/operations", "azure-aks/operations"])
def test_flow_runs_elsewhere_are_not_told_an_address_of_this_machine(name: str, tmp_path: Path) -> None:
    told = {
        **AZURE,
        "azure_workspace": "w",
        "azure_key_vault": "https://v.vault.azure.net",
        "prefect_url": "https://prefect.example.org/api",
    }
    with pytest.raises(pools.PoolError, match="set mlflow_url"):
        pools.read(ROOT / f"infra/work_pools/{name}.json", Settings(home=tmp_path, profile="azure", **told))
    told["mlflow_url"] = "https://mlflow.example.org"
    pools.read(ROOT / f"infra/work_pools/{name}.json", Settings(home=tmp_path, profile="azure", **told))


@pytest.mark.parametrize("name", ["azure/training", "azure/operations", "azure-aks/operations"])
def test_servers_whose_password_is_on_this_machine_alone_are_refused(name: str, tmp_path: Path) -> None:
    told = {**AZURE, "azure_workspace": "w", "azure_key_vault": "https://v.vault.azure.net"}
    (tmp_path / "servers-sign-in").write_text("mlops:word")
    file, home = ROOT / f"infra/work_pools/{name}.json", {"home": tmp_path, "secrets_dir": tmp_path}
    with pytest.raises(pools.PoolError, match="on this one alone: keep it in the vault"):
        pools.read(file, Settings(profile="azure", **home, **told))  # type: ignore[arg-type]
    pools.read(file, Settings(profile="azure", azure_servers_secret="s", **home, **told))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "absent", ["azure_registry", "azure_flow_identity", "azure_resource_group", "azure_subscription"]
)
def test_a_missing_setting_is_named(absent: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, **{key: value for key, value in AZURE.items() if key != absent})

    with pytest.raises(
        pools.PoolError, match=rf"operations\.json needs the setting {absent} \(MLOPS_{absent.upper()}\)"
    ):
        pools.read(ROOT / "infra/work_pools/azure/operations.json", settings)


@pytest.mark.parametrize("name", ["training", "operations"])
def test_aks_pool_makes_jobs_that_kubernetes_schemas_and_a_restricted_namespace_allow(name: str) -> None:
    from prefect.client.schemas import FlowRun
    from prefect.utilities.templating import apply_values
    from prefect_kubernetes.worker import KubernetesWorker, KubernetesWorkerJobConfiguration

    settings = Settings(home=ROOT, profile="azure", store="https://st.blob.core.windows.net/mlops", **AZURE)
    pool = pools.read(ROOT / f"infra/work_pools/azure-aks/{name}.json", settings)
    expected = KubernetesWorker.get_default_base_job_template()["variables"]["properties"]
    assert pool.type == KubernetesWorker.type
    assert pool.base_job_template["variables"]["properties"].keys() == expected.keys()

    variables = pool.base_job_template["variables"]["properties"]
    values = {key: each["default"] for key, each in variables.items() if each.get("default") is not None}
    job = KubernetesWorkerJobConfiguration(**apply_values(pool.base_job_template["job_configuration"], values))
    job.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="some-run"))
    kubernetes_validate.validate(job.job_manifest, "1.33", strict=True)
    pod = job.job_manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "cr.azurecr.io/mlops-flows:latest"
    assert container["args"] == ["python", "-m", "prefect.engine"]
    assert {"name": "MLOPS_AZURE_SIGN_IN", "value": "workload_identity"} in container["env"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_another_folder_of_pools_can_be_named(tmp_path: Path) -> None:
    with pytest.raises(pools.PoolError, match="infra/work_pools/azure-aks"):
        pools.ensure_pools(Settings(home=tmp_path, profile="azure", work_pools="azure-aks"))
