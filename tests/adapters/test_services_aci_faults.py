"""Faults of Azure while a scoring service is changed: how it ends, what Azure said, and that PROD answered.

The table "Releases to Container Instances" in docs/azure-twin.md has a row for each of these tests.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from mlops.adapters.services import ReplacementFailed, Service, ServiceError, aci
from mlops.adapters.services.aci import AciServices
from mlops.settings import Settings
from tests.adapters.services_contract import answers, eventually
from tests.fakes.azurite import Azurite
from tests.infra.subscription import installation, prepare
from tests.infra.twin import RunningTwin

GROUP = "mlops-iris-prod"


@pytest.fixture(scope="module")
def twin(azure_twin_session: RunningTwin) -> Iterator[RunningTwin]:
    """The twin with one subscription for this module, whose tests leave it as they found it."""
    azure_twin_session.reset()
    with pytest.MonkeyPatch.context() as patched:
        azure_twin_session.use(patched)
        yield azure_twin_session


@pytest.fixture(scope="module")
def settings(twin: RunningTwin, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("installation")
    told = prepare(twin, "mlops-scoring:1", "mlops-scoring:2")
    azurite.sign_in(folder / ".local" / "secrets")
    return installation(told, folder, store=azurite.container(), azure_scoring_image="mlops-scoring:1")


@pytest.fixture(scope="module")
def opened(settings: Settings) -> Iterator[AciServices]:
    services = AciServices(settings)
    yield services
    services.remove("iris", "prod")


@pytest.fixture
def services(opened: AciServices, twin: RunningTwin) -> Iterator[AciServices]:
    """The services; no fault waits when the test is over."""
    yield opened
    twin.control.delete("/twin/faults")


@pytest.fixture
def prod(services: AciServices) -> Service:
    """A service that answers."""
    return services.ensure("iris", "prod")


@pytest.fixture
def nothing(services: AciServices) -> None:
    """No service."""
    services.remove("iris", "prod")


@pytest.fixture
def newer(settings: Settings) -> AciServices:
    """The services with another image."""
    return AciServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))


def pid(service: Service) -> int:
    """The process that answers, which a restart would change."""
    return int(httpx.get(f"{service.url}/healthz", timeout=5).json()["pid"])


def image(twin: RunningTwin) -> str:
    (group,) = twin.resources("containerGroups")
    return str(group["properties"]["containers"][0]["properties"]["image"]).rpartition("/")[2]


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize("kind", ["throttled", "unavailable", "network cut"])
def test_what_passes_by_itself_is_tried_again(kind: str, services: AciServices, twin: RunningTwin) -> None:
    for method in ("PUT", "GET"):
        twin.fail(kind, method=method, match=f"management.*{GROUP}")
    assert answers(services.ensure("iris", "prod"))
    assert twin.groups() == [GROUP]
    assert twin.control.get("/twin/faults").json()["waiting"] == []


@pytest.mark.usefixtures("nothing")
@pytest.mark.parametrize(("kind", "code"), [("no capacity", "not available in the location"), ("quota", "quota")])
def test_no_capacity_is_told_and_the_next_try_finds_nothing_in_its_way(
    kind: str, code: str, services: AciServices, twin: RunningTwin
) -> None:
    twin.fail(kind)
    with pytest.raises(ServiceError, match=code):
        services.ensure("iris", "prod")
    assert twin.groups() == []
    assert answers(services.ensure("iris", "prod"))


def test_a_replacement_whose_answer_is_lost_is_made_once(prod: Service, newer: AciServices, twin: RunningTwin) -> None:
    before = pid(prod)
    twin.control.delete("/twin/exchanges")
    twin.fail("answer lost", method="PUT", match=f"management.*{GROUP}")
    assert newer.ensure("iris", "prod").url == prod.url
    assert pid(prod) != before
    assert image(twin) == "mlops-scoring:2"
    assert [(each["status"], each["fault"]) for each in twin.exchanges("PUT")] == [(200, "answer lost")]


def test_a_request_for_a_replacement_that_is_lost_changes_nothing(
    prod: Service, newer: AciServices, twin: RunningTwin
) -> None:
    before = pid(prod)
    twin.fail("network cut", method="PUT", match=f"management.*{GROUP}")
    with pytest.raises(ServiceError):
        newer.ensure("iris", "prod")
    assert (pid(prod), image(twin)) == (before, "mlops-scoring:1")


def test_an_image_that_cannot_be_pulled_leaves_the_service_as_it_is(
    prod: Service, newer: AciServices, twin: RunningTwin
) -> None:
    before = pid(prod)
    twin.fail("image pull")
    with pytest.raises(ServiceError, match=r"InaccessibleImage.*mlops-scoring:2"):
        newer.ensure("iris", "prod")
    assert (pid(prod), image(twin)) == (before, "mlops-scoring:1")
    assert newer.ensure("iris", "prod").url == prod.url
    assert image(twin) == "mlops-scoring:2"


def test_an_image_that_crashes_at_its_start_gives_way_to_the_one_before(
    prod: Service, newer: AciServices, twin: RunningTwin
) -> None:
    twin.fail("crash in start", match=f"{GROUP}/scoring")
    said = newer.changes("iris", "prod")
    assert "from mlopsregistry.azurecr.io/mlops-scoring:1 to mlopsregistry.azurecr.io/mlops-scoring:2" in said
    with pytest.raises(ReplacementFailed) as failed:
        newer.ensure("iris", "prod")
    assert answers(prod)
    told = (
        "ended at its start; the group from before (mlopsregistry.azurecr.io/mlops-scoring:1) is put back and answers"
    )
    assert told in str(failed.value)
    assert "the container crashed as it started" in str(failed.value)
    assert image(twin) == "mlops-scoring:1"
    assert newer.ensure("iris", "prod").status == "running"
    assert image(twin) == "mlops-scoring:2"


def test_an_image_that_crashes_while_azure_cannot_be_asked_gives_way_to_the_one_before(
    prod: Service, newer: AciServices, twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To give up at the first question that is not answered would forget what is to be put back."""
    twin.fail("crash in start", match=f"{GROUP}/scoring")
    put, cut = AciServices._put, [8]  # Each question is tried four times by the SDK.

    def put_and_cut(self: AciServices, *arguments: Any, **how: Any) -> None:
        put(self, *arguments, **how)
        if cut:
            twin.fail("network cut", match=GROUP, method="GET", times=cut.pop())

    monkeypatch.setattr(AciServices, "_put", put_and_cut)
    with pytest.raises(ReplacementFailed, match=r"ended at its start; the group from before .* is put back and answer"):
        newer.ensure("iris", "prod")
    assert not twin.waiting()
    assert answers(prod)
    assert image(twin) == "mlops-scoring:1"


def test_an_image_that_is_pulled_for_too_long_gives_way_to_the_one_before(
    prod: Service, newer: AciServices, twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin.fail("slow pull", match=GROUP, seconds=4)
    with monkeypatch.context() as patched:
        patched.setattr(aci, "START_SECONDS", 1.0)
        with pytest.raises(ReplacementFailed) as failed:
            newer.ensure("iris", "prod")
    assert f"{GROUP} is still being made, not done in time; Azure goes on with it" in str(failed.value)
    assert "(mlopsregistry.azurecr.io/mlops-scoring:1) is put back and answers again" in str(failed.value)
    assert (answers(prod), image(twin)) == (True, "mlops-scoring:1")
    newer.ensure("iris", "prod")
    assert image(twin) == "mlops-scoring:2"


def test_a_group_that_stays_under_way_is_told_and_not_tried_again(
    prod: Service, newer: AciServices, twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin.fail("slow pull", match=GROUP, seconds=6)
    with monkeypatch.context() as patched:
        patched.setattr(aci, "START_SECONDS", 0.5)
        patched.setattr(aci, "SETTLE_SECONDS", 0.5)
        with pytest.raises(ReplacementFailed, match=r"could not be put back: .* is Creating for too long"):
            newer.ensure("iris", "prod")
    assert newer.ensure("iris", "prod").url == prod.url
    assert image(twin) == "mlops-scoring:2"


@pytest.mark.usefixtures("nothing")
def test_a_new_service_that_crashes_is_stopped_and_started_by_the_next_try(
    services: AciServices, twin: RunningTwin
) -> None:
    twin.fail("crash in start", match=f"{GROUP}/scoring")
    with pytest.raises(ServiceError, match="ended at its start"):
        services.ensure("iris", "prod")
    assert services.describe("iris", "prod").status == "stopped"
    assert answers(services.ensure("iris", "prod"))


@pytest.mark.parametrize(
    ("kind", "match", "code"),
    [
        ("wrong secret", "login.microsoftonline.com.*token", "AADSTS7000215"),
        ("expired token", "management", "access token expiry"),
        ("forbidden", "management", "does not have authorization"),
    ],
)
def test_a_refused_sign_in_changes_nothing(
    kind: str, match: str, code: str, prod: Service, settings: Settings, twin: RunningTwin
) -> None:
    before = pid(prod)
    twin.fail(kind, match=match)
    with pytest.raises(ServiceError, match=code):
        AciServices(settings).ensure("iris", "prod")
    assert AciServices(settings).ensure("iris", "prod") == prod
    assert pid(prod) == before


def test_a_slow_delete_is_waited_for(prod: Service, services: AciServices, twin: RunningTwin) -> None:
    twin.fail("slow delete", seconds=1)
    services.remove("iris", "prod")
    assert twin.groups() == []
    assert not answers(prod)


def test_a_delete_that_takes_too_long_is_told_and_goes_on(
    prod: Service, services: AciServices, twin: RunningTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin.fail("slow delete", seconds=10)
    with monkeypatch.context() as patched:
        patched.setattr(aci, "DELETE_SECONDS", 0.5)
        with pytest.raises(ServiceError, match="still being deleted"):
            services.remove("iris", "prod")
    twin.wait_for_groups([])
    services.remove("iris", "prod")
    assert not answers(prod)


def test_a_delete_that_fails_is_told_and_can_be_repeated(
    prod: Service, services: AciServices, twin: RunningTwin
) -> None:
    twin.fail("delete fails")
    with pytest.raises(ServiceError, match="internal server error"):
        services.remove("iris", "prod")
    assert answers(prod)
    services.remove("iris", "prod")
    assert twin.groups() == []


def test_a_group_that_somebody_else_deletes_is_changed_once_it_is_gone(
    prod: Service, settings: Settings, twin: RunningTwin
) -> None:
    newer = AciServices(msgspec.structs.replace(settings, azure_scoring_image="mlops-scoring:2"))
    (group,) = twin.resources("containerGroups")
    twin.fail("slow delete", seconds=10)
    twin.arm("DELETE", group["id"], "2023-05-01")
    with pytest.raises(ServiceError, match="'mlops-iris-prod' is still transitioning, please retry later"):
        newer.ensure("iris", "prod")
    twin.wait_for_groups([])
    assert newer.ensure("iris", "prod").url == prod.url
    newer.remove("iris", "prod")


def test_a_size_that_cannot_change_in_place_is_said_and_made_anew(
    prod: Service, settings: Settings, twin: RunningTwin
) -> None:
    larger = AciServices(msgspec.structs.replace(settings, azure_scoring_memory=2.0))
    said = larger.changes("iris", "prod")
    assert "its CPU and memory changed, which a living group cannot: it is deleted, replaced" in said
    assert larger.ensure("iris", "prod").url == prod.url
    assert twin.groups() == [GROUP]
    assert larger.changes("iris", "prod") == ""


def test_a_new_size_that_does_not_start_gives_way_to_the_one_before(
    prod: Service, settings: Settings, twin: RunningTwin
) -> None:
    larger = AciServices(msgspec.structs.replace(settings, azure_scoring_memory=3.0))
    twin.fail("crash in start", match=f"{GROUP}/scoring")
    with pytest.raises(ReplacementFailed, match=r"ended at its start; the group from before .* is put back and answer"):
        larger.ensure("iris", "prod")
    assert answers(prod)


@pytest.mark.parametrize("move", [False, True])
def test_after_maintenance_by_the_platform_the_service_answers_at_its_name(
    move: bool, prod: Service, services: AciServices, twin: RunningTwin
) -> None:
    before = pid(prod)
    (group,) = twin.resources("containerGroups")
    assert twin.control.post("/twin/restart", json={"resource": group["id"], "move": move}).status_code == 204
    assert eventually(lambda: answers(prod) and pid(prod) != before, 20)
    (again,) = twin.resources("containerGroups")
    assert (again["properties"]["ipAddress"]["ip"] != group["properties"]["ipAddress"]["ip"]) == move
    assert services.ensure("iris", "prod").url == prod.url


def test_a_rotated_key_is_a_change_that_both_keys_survive(
    prod: Service, services: AciServices, settings: Settings
) -> None:
    file = settings.secrets / "iris-prod.key"
    old = file.read_text().strip()
    file.write_text(f"a-new-key-of-more-than-enough-characters\n{old}\n")
    assert "settings or keys changed" in services.changes("iris", "prod")
    services.ensure("iris", "prod")
    for key in (old, "a-new-key-of-more-than-enough-characters"):
        asked = httpx.post(f"{prod.url}/score", json={}, headers={"Authorization": f"Bearer {key}"}, timeout=5)
        assert asked.status_code == 503, "nothing was released yet, but the key opened it"
