"""What every implementation of ``Services`` must do: the contract tests, to be run against each.

A test module of an implementation subclasses ``ServicesContract`` under a name that begins with ``Test`` and
defines the fixture ``member``, whose services are removed when the test ends.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from mlops.adapters.scoring_client import follows_environment
from mlops.adapters.services import Service, ServiceError, Services, key_file
from mlops.settings import Settings
from tests.waiting import eventually


@dataclass(frozen=True)
class Member:
    """An installation whose services one implementation looks after."""

    settings: Settings
    open: Callable[[Settings], Services]
    """Makes the implementation, as each new process of a flow does; what one starts, all find."""
    unstartable: Settings
    """Of another installation, with a setting by which a service ends at its start."""
    seconds: float = 5.0
    """In which an ended service has stopped answering, and a new one answers through its address."""


def answers(service: Service) -> bool:
    """Whether the service behind an address is the one of this model and environment."""
    try:
        told = httpx.get(f"{service.url}/healthz", trust_env=follows_environment(service.url), timeout=5).json()
    except (httpx.TransportError, ValueError):
        return False
    return bool((told["model"], told["environment"]) == (service.model, service.environment))


class ServicesContract:
    """The tests; each begins with an installation without services."""

    @pytest.fixture
    def member(self) -> Member:
        raise NotImplementedError

    def test_what_was_never_started_is_absent(self, member: Member) -> None:
        services = member.open(member.settings)
        assert services.describe("iris", "uat") == Service(model="iris", environment="uat", url="", status="absent")
        assert services.changes("iris", "uat") == ""
        assert services.logs("iris", "uat") == ""
        assert services.recorded() == []
        services.stop("iris", "uat")
        services.remove("iris", "uat")
        assert services.describe("iris", "uat").status == "absent"

    def test_ensure_starts_a_service_once_and_every_caller_finds_it(self, member: Member) -> None:
        services = member.open(member.settings)
        service = services.ensure("iris", "uat")
        assert answers(service)  # At once: it answers when ensure returns.
        assert (service.model, service.environment, service.status) == ("iris", "uat", "running")
        assert services.ensure("iris", "uat") == service == services.describe("iris", "uat")
        again = member.open(member.settings)
        assert again.ensure("iris", "uat") == service == again.describe("iris", "uat")
        assert again.recorded() == [service]
        assert services.describe("iris", "prod").status == "absent"

    def test_remove_leaves_nothing_that_answers(self, member: Member) -> None:
        services = member.open(member.settings)
        service = services.ensure("iris", "uat")
        services.remove("iris", "uat")
        assert eventually(lambda: not answers(service), member.seconds)
        assert services.describe("iris", "uat") == Service(model="iris", environment="uat", url="", status="absent")
        assert services.recorded() == []
        services.remove("iris", "uat")

    def test_stop_keeps_the_address_for_the_next_start(self, member: Member) -> None:
        services = member.open(member.settings)
        first = services.ensure("iris", "uat")
        services.stop("iris", "uat")
        assert eventually(lambda: not answers(first), member.seconds)
        services.stop("iris", "uat")
        (stopped,) = services.recorded()
        assert (stopped.url, stopped.status) == (first.url, "stopped")
        assert services.ensure("iris", "prod").url != first.url  # Nor does another service get it.
        again = services.ensure("iris", "uat")
        assert (again.url, again.status) == (first.url, "running")
        assert answers(again)

    def test_a_key_is_made_once_and_opens_the_service(self, member: Member) -> None:
        services = member.open(member.settings)
        service = services.ensure("iris", "uat")
        file = key_file(member.settings, "iris", "uat")
        key = file.read_text("utf-8").strip()
        assert len(key) >= 40
        asked: dict[str, Any] = {"url": f"{service.url}/score", "json": {}}
        asked["trust_env"] = follows_environment(service.url)
        assert httpx.post(**asked).status_code == 401
        assert httpx.post(**asked, headers={"Authorization": "Bearer wrong"}).status_code == 401
        opened = httpx.post(**asked, headers={"Authorization": f"Bearer {key}"})
        assert opened.status_code == 503, "nothing was released yet"
        services.remove("iris", "uat")
        services.ensure("iris", "uat")
        assert file.read_text("utf-8").strip() == key
        assert key not in services.logs("iris", "uat")

    def test_logs_are_the_last_lines(self, member: Member) -> None:
        services = member.open(member.settings)
        services.ensure("iris", "uat")
        lines = services.logs("iris", "uat").splitlines()
        assert any("listens on" in line for line in lines)
        assert services.logs("iris", "uat", 1).splitlines() in [[line] for line in lines]

    def test_a_changed_setting_replaces_the_service_and_says_so_before(
        self, member: Member, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        services = member.open(member.settings)
        first = services.ensure("iris", "prod")
        assert services.changes("iris", "prod") == ""
        monkeypatch.setenv("MLOPS_SCORING_LIMIT_BATCH", "7")
        said = services.changes("iris", "prod")
        assert "replaced" in said
        assert answers(first), "changes only says it"
        again = services.ensure("iris", "prod")
        assert said in caplog.text
        assert again.url == first.url
        assert answers(again)
        assert services.changes("iris", "prod") == ""

    def test_ensures_at_once_start_one_service_each(self, member: Member) -> None:
        names = [("iris", "uat"), ("iris", "prod")] * 2
        with ThreadPoolExecutor(len(names)) as threads:
            found = list(threads.map(lambda name: member.open(member.settings).ensure(*name), names))
        assert found[0] == found[2]
        assert found[1] == found[3]
        assert found[0].url != found[1].url
        assert all(map(answers, found))

    def test_a_service_that_ends_at_its_start_is_reported_with_its_log(self, member: Member) -> None:
        services = member.open(member.unstartable)
        try:
            with pytest.raises(ServiceError, match="MLOPS_STORE"):
                services.ensure("iris", "uat")
            assert services.describe("iris", "uat").status != "running"
        finally:
            services.remove("iris", "uat")
