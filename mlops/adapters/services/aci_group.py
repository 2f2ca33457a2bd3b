"""What a scoring service is to Azure Container Instances: the container group, built from settings and secrets."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from azure.mgmt.containerinstance import models as aci

from mlops.adapters.services.container import PORT, STATE_FOLDER, variables
from mlops.settings import Settings

SCORING, TLS = "scoring", "tls"
SECRETS_FOLDER = "/run/secrets"
ROLE, MODEL, ENVIRONMENT, DIGEST = "mlops-role", "mlops-model", "mlops-environment", "mlops-digest"
SLOT = "mlops-slot"
"""Which of two groups behind a gateway it is; empty where there is only one."""
TLS_CPU, TLS_MEMORY = 0.1, 0.1


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What one service shall be."""

    model: str
    environment: str
    variables: Mapping[str, str]
    """Further variables of the service: its limits."""
    secrets: Mapping[str, str]
    """Files of the secrets folder: the service's keys, and what opens the store where no identity does."""
    slot: str = ""
    share_key: str = ""
    """The storage account's key for ``azure_tls_share``."""


def group_name(model: str, environment: str, slot: str = "") -> str:
    """The container group of a service."""
    return "-".join(filter(None, ["mlops", model, environment, slot]))


def host_name(settings: Settings, model: str, environment: str, slot: str = "") -> str:
    """The name that Azure gives to the group's DNS label; it stays when the group is made anew."""
    return f"{_label(settings, model, environment, slot)}.{settings.azure_region}.azurecontainer.io"


def build_group(settings: Settings, wanted: Wanted) -> aci.ContainerGroup:
    """The container group of a service: the scoring container, and Caddy in front of it, which alone is reachable.

    Secrets are in a secret volume, which Azure shows nobody; the digest in the tags tells groups apart by all that
    they were made from.
    """
    group = aci.ContainerGroup(
        location=settings.azure_region,
        containers=[_scoring(settings, wanted), _tls(settings, wanted)],
        os_type="Linux",
        restart_policy="Always",
        ip_address=aci.IpAddress(
            type="Public",
            ports=[aci.Port(protocol="TCP", port=port) for port in (443, 80)],
            dns_name_label=_label(settings, wanted.model, wanted.environment, wanted.slot),
        ),
        identity=aci.ContainerGroupIdentity(
            type="UserAssigned", user_assigned_identities={settings.azure_identity: aci.UserAssignedIdentities()}
        ),
        image_registry_credentials=[
            aci.ImageRegistryCredential(server=settings.azure_registry, identity=settings.azure_identity)
        ],
        volumes=_volumes(settings, wanted),
        tags={ROLE: "scoring", MODEL: wanted.model, ENVIRONMENT: wanted.environment, SLOT: wanted.slot},
    )
    group.tags = tags_of(group) | {DIGEST: _digest(group)}
    return group


def tags_of(group: aci.ContainerGroup) -> dict[str, str]:
    """The group's tags."""
    return group.tags or {}


def is_ours(tags: Mapping[str, str], slot: str) -> bool:
    """Whether tags are those of a scoring service's group in a slot."""
    return tags.get(ROLE) == "scoring" and tags.get(SLOT, "") == slot


def fixed(group: aci.ContainerGroup) -> dict[str, object]:
    """What Azure cannot change on a living group, by what people call it."""
    return {
        "operating system": group.os_type,
        "restart policy": group.restart_policy,
        "DNS label": group.ip_address.dns_name_label if group.ip_address else None,
        "CPU and memory": sorted(
            (each.name, float(each.resources.requests.cpu), float(each.resources.requests.memory_in_gb))
            for each in group.containers
        ),
    }


def image_of(group: aci.ContainerGroup) -> str:
    """The scoring container's image."""
    return next((each.image for each in group.containers if each.name == SCORING), "")


def _scoring(settings: Settings, wanted: Wanted) -> aci.Container:
    probe = aci.ContainerHttpGet(path="/healthz", port=PORT, scheme="http")
    return aci.Container(
        name=SCORING,
        image=f"{settings.azure_registry}/{settings.azure_scoring_image}",
        ports=[aci.ContainerPort(protocol="TCP", port=PORT)],
        resources=_resources(settings.azure_scoring_cpu, settings.azure_scoring_memory),
        environment_variables=[
            aci.EnvironmentVariable(name=name, value=value) for name, value in _variables(settings, wanted)
        ],
        volume_mounts=[
            aci.VolumeMount(name="secrets", mount_path=SECRETS_FOLDER, read_only=True),
            aci.VolumeMount(name="state", mount_path=STATE_FOLDER),
        ],
        # Alive, not ready: one whose store is away serves on, and one that nothing was released to waits.
        liveness_probe=aci.ContainerProbe(
            http_get=probe, initial_delay_seconds=20, period_seconds=10, timeout_seconds=3, failure_threshold=3
        ),
        readiness_probe=aci.ContainerProbe(http_get=probe, period_seconds=5, timeout_seconds=3, failure_threshold=3),
    )


def _variables(settings: Settings, wanted: Wanted) -> list[tuple[str, str]]:
    sign_in = {"MLOPS_AZURE_SIGN_IN": "managed_identity", "MLOPS_AZURE_IDENTITY": settings.azure_identity}
    return variables(settings, wanted.model, wanted.environment, SECRETS_FOLDER, {**wanted.variables, **sign_in})


def _tls(settings: Settings, wanted: Wanted) -> aci.Container:
    """Microsoft's recipe: Caddy gets a certificate for the group's name and passes requests on to its neighbour."""
    name = host_name(settings, wanted.model, wanted.environment, wanted.slot)
    return aci.Container(
        name=TLS,
        image=settings.azure_caddy_image,
        command=["caddy", "reverse-proxy", "--from", name, "--to", f"localhost:{PORT}"],
        ports=[aci.ContainerPort(protocol="TCP", port=port) for port in (443, 80)],
        resources=_resources(TLS_CPU, TLS_MEMORY),
        volume_mounts=[aci.VolumeMount(name="certificates", mount_path="/data")],
    )


def _volumes(settings: Settings, wanted: Wanted) -> list[aci.Volume]:
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in sorted(wanted.secrets.items())}
    account, _, share = settings.azure_tls_share.partition("/")
    certificates: dict[str, Any] = {"empty_dir": {}}
    if share:
        certificates = {
            "azure_file": aci.AzureFileVolume(
                share_name=share, storage_account_name=account, storage_account_key=wanted.share_key
            )
        }
    return [
        aci.Volume(name="secrets", secret=encoded),
        aci.Volume(name="state", empty_dir={}),
        aci.Volume(name="certificates", **certificates),
    ]


def _resources(cpu: float, memory: float) -> aci.ResourceRequirements:
    return aci.ResourceRequirements(requests=aci.ResourceRequests(cpu=cpu, memory_in_gb=memory))


def _label(settings: Settings, model: str, environment: str, slot: str) -> str:
    return "-".join(filter(None, [settings.azure_dns_prefix, model, environment, slot]))


def _digest(group: aci.ContainerGroup) -> str:
    """Name all that a group is made from; of each secret only enough to see that it changed."""
    described = group.serialize(keep_readonly=False)
    for volume in described["properties"]["volumes"]:
        if "secret" in volume:
            volume["secret"] = {name: _mark(text) for name, text in volume["secret"].items()}
        if "azureFile" in volume:
            volume["azureFile"]["storageAccountKey"] = _mark(volume["azureFile"]["storageAccountKey"])
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def _mark(secret: str) -> str:
    return hashlib.blake2b(secret.encode(), digest_size=3, person=b"mlops-mark").hexdigest()
