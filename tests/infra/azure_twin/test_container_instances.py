"""Container groups of the twin, by Azure's own SDK."""

import time
from typing import Any

import httpx
import psutil
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.resource import ResourceManagementClient

from tests.infra.twin import GROUP, RunningTwin
from tests.waiting import gone


def group(code: str, policy: str = "Never", **more: Any) -> dict[str, Any]:
    container = {
        "name": "main",
        "properties": {
            "image": "python:3.11-slim",
            "command": ["python", "-c", code],
            "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
            **more.pop("container", {}),
        },
    }
    return {
        "location": "westeurope",
        "properties": {"containers": [container], "osType": "Linux", "restartPolicy": policy, **more},
    }


def ended(client: ContainerInstanceManagementClient, name: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = client.container_groups.get(GROUP, name)
        if found.instance_view.state in ("Succeeded", "Failed"):
            return found
        assert time.monotonic() < deadline, found.instance_view.state
        time.sleep(0.1)


def test_a_group_runs_to_its_end_and_is_deleted(
    azure_twin: RunningTwin, client: ContainerInstanceManagementClient
) -> None:
    made = client.container_groups.begin_create_or_update(
        GROUP, "hello", group("print('hello from a container')")
    ).result()
    assert made.provisioning_state == "Succeeded"
    found = ended(client, "hello")
    state = found.containers[0].instance_view.current_state
    assert (found.instance_view.state, state.state, state.exit_code) == ("Succeeded", "Terminated", 0)
    assert client.containers.list_logs(GROUP, "hello", "main").content == "hello from a container\n"
    client.container_groups.begin_delete(GROUP, "hello").result()
    with pytest.raises(ResourceNotFoundError, match="ResourceNotFound"):
        client.container_groups.get(GROUP, "hello")
    assert "hello" not in azure_twin.groups()


def test_no_host_outside_is_reached(azure_twin: RunningTwin) -> None:
    refused = pytest.raises(httpx.ProxyError, match=r"403 the Azure twin does not know example\.com:443")
    with httpx.Client(proxy=azure_twin.environment["HTTPS_PROXY"]) as outside, refused:
        outside.get("https://example.com/")


def test_no_capacity(azure_twin: RunningTwin, client: ContainerInstanceManagementClient) -> None:
    azure_twin.fail("no capacity")
    with pytest.raises(HttpResponseError, match="is not available in the location 'westeurope'"):
        client.container_groups.begin_create_or_update(GROUP, "none", group("")).result()
    assert "none" not in azure_twin.groups()


def test_what_cannot_change_on_a_living_group_is_refused(
    azure_twin: RunningTwin, client: ContainerInstanceManagementClient
) -> None:
    living = group("import time; time.sleep(60)")
    client.container_groups.begin_create_or_update(GROUP, "fixed", living).result()
    living["properties"]["containers"][0]["properties"]["resources"]["requests"]["cpu"] = 2
    with pytest.raises(HttpResponseError, match="you must delete it first"):
        client.container_groups.begin_create_or_update(GROUP, "fixed", living).result()
    assert azure_twin.groups() == ["fixed"]


def test_more_cores_than_the_quota_are_refused(client: ContainerInstanceManagementClient) -> None:
    large = group("import time; time.sleep(60)")
    large["properties"]["containers"][0]["properties"]["resources"]["requests"]["cpu"] = 31
    for number in range(3):
        client.container_groups.begin_create_or_update(GROUP, f"large-{number}", large).result()
    with pytest.raises(
        HttpResponseError, match=r"quota 'StandardCores' exceeded in region 'westeurope'\. Limit: '100'"
    ):
        client.container_groups.begin_create_or_update(GROUP, "large-3", large).result()


def test_a_failing_container_is_started_again_by_its_policy(client: ContainerInstanceManagementClient) -> None:
    client.container_groups.begin_create_or_update(GROUP, "again", group("raise SystemExit(3)", "OnFailure")).result()
    deadline = time.monotonic() + 20
    while (view := client.container_groups.get(GROUP, "again").containers[0].instance_view).restart_count < 1:
        assert time.monotonic() < deadline, view
        time.sleep(0.2)
    assert view.previous_state.exit_code == 3


def test_a_failed_liveness_probe_ends_the_container(client: ContainerInstanceManagementClient) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    sick = group("import time; time.sleep(60)", container={"livenessProbe": probe})
    client.container_groups.begin_create_or_update(GROUP, "sick", sick).result()
    found = ended(client, "sick")
    view = found.containers[0].instance_view
    assert (found.instance_view.state, view.current_state.exit_code) == ("Failed", 137)
    assert any("liveness probe" in event.message for event in view.events)


def test_a_deleted_resource_group_takes_its_container_groups_along(
    azure_twin: RunningTwin, client: ContainerInstanceManagementClient
) -> None:
    client.container_groups.begin_create_or_update(GROUP, "inside", group("import time; time.sleep(60)")).result()
    resources = ResourceManagementClient(DefaultAzureCredential(), azure_twin.subscription)
    resources.resource_groups.begin_delete(GROUP).result()
    assert azure_twin.resources() == []


LEAVES = """
import subprocess, sys, time
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(own.pid, flush=True)
time.sleep(600)
"""


def test_what_a_container_started_ends_with_it_even_in_a_session_of_its_own(
    azure_twin: RunningTwin, client: ContainerInstanceManagementClient
) -> None:
    client.container_groups.begin_create_or_update(GROUP, "leaves", group(LEAVES)).result()

    def printed() -> list[str]:
        return list(client.containers.list_logs(GROUP, "leaves", "main").content.split())

    azure_twin.wait_for(lambda: len(printed()) == 1)
    (first,) = printed()
    assert not gone(int(first))
    identifier = client.container_groups.get(GROUP, "leaves").id
    assert azure_twin.control.post("/twin/restart", json={"resource": identifier}).status_code == 204
    assert gone(int(first))
    azure_twin.wait_for(lambda: printed() not in ([], [first]))
    (second,) = printed()
    client.container_groups.begin_delete(GROUP, "leaves").result()
    assert gone(int(second))


def test_a_dns_label_is_given_once(client: ContainerInstanceManagementClient) -> None:
    address = {"type": "Public", "ports": [{"port": 8080}], "dnsNameLabel": "mine"}
    first = group("import time; time.sleep(60)", ipAddress=address)
    made = client.container_groups.begin_create_or_update(GROUP, "first", first).result()
    assert made.ip_address.fqdn == "mine.westeurope.azurecontainer.io"
    with pytest.raises(HttpResponseError, match="The DNS name label 'mine' in region 'westeurope' is not available"):
        client.container_groups.begin_create_or_update(GROUP, "second", first).result()


def test_it_listens_on_loopback_alone(azure_twin: RunningTwin) -> None:
    listening = [
        each for each in psutil.Process(azure_twin.process.pid).net_connections("tcp") if each.status == "LISTEN"
    ]
    assert len(listening) >= 3
    assert {each.laddr[0] for each in listening} == {"127.0.0.1"}
