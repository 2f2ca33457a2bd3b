"""What a scoring service is to Kubernetes: the objects of infra/kubernetes/scoring.yaml, filled in."""

import hashlib
import json
from collections.abc import Mapping
from string import Template

import yaml

from mlops.adapters.services.cluster import Manifest
from mlops.adapters.services.container import LIMITS, variables
from mlops.settings import Settings

TEMPLATE = "infra/kubernetes/scoring.yaml"
DIGEST = "mlops/digest"
MODEL, ENVIRONMENT = "mlops.model", "mlops.environment"
OWNED = "app.kubernetes.io/managed-by=mlops-loop,app.kubernetes.io/component=scoring"
BODY_BYTES = 8 * 1024 * 1024
"""The largest request that a service takes unless its limits say otherwise."""
BODY_MARGIN = 64 * 1024
"""By how much more passes the ingress, so that it is mostly the service that refuses, with the reason in JSON."""
SECRETS_FOLDER = "/etc/mlops/secrets"
"""Not below /run: the webhook of workload identity mounts its token at /var/run, which is the same, and nothing can be
mounted into a Secret."""


def object_name(model: str, environment: str) -> str:
    """The name of all objects of a service."""
    return f"scoring-{model}-{environment}"


def host_name(settings: Settings, model: str, environment: str) -> str:
    """The name by which a service is reached."""
    return f"{model}-{environment}.{settings.kubernetes_domain}"


def build_manifests(
    settings: Settings, model: str, environment: str, limits: Mapping[str, str], secrets: Mapping[str, str]
) -> list[Manifest]:
    """The objects of a service, the Secret first, so that pods find it.

    The Deployment's annotation ``mlops/digest`` names all that its pods are made from; the keys are not part of it,
    since a running service reads its keys anew.
    """
    name = object_name(model, environment)
    text = (settings.home / TEMPLATE).read_text("utf-8")
    filled = Template(text).substitute(
        name=name,
        image=json.dumps(f"{settings.azure_registry}/{settings.azure_scoring_image}"),
        env=json.dumps(_env(settings, model, environment, limits)),
        cpu=json.dumps(f"{settings.azure_scoring_cpu:g}"),
        memory=json.dumps(f"{settings.azure_scoring_memory * 1000:.0f}M"),
        service_account=settings.kubernetes_service_account,
        min_replicas=settings.kubernetes_min_replicas,
        max_replicas=max(settings.kubernetes_min_replicas, settings.kubernetes_max_replicas),
        ingress_class=settings.kubernetes_ingress_class,
        host=host_name(settings, model, environment),
        body_bytes=int(limits.get(f"{LIMITS}BODY", "").strip() or BODY_BYTES) + BODY_MARGIN,
        tls_secret=settings.kubernetes_tls_secret,
    )
    objects: list[Manifest] = [_secret(name, secrets), *yaml.safe_load_all(filled)]
    labels = _labels(name, model, environment)
    for each in objects:
        each["metadata"] |= {"namespace": settings.kubernetes_namespace, "labels": labels}
    deployment = next(each for each in objects if each["kind"] == "Deployment")
    deployment["spec"]["template"]["metadata"]["labels"] |= labels
    digest = hashlib.sha256(json.dumps(objects[1:], sort_keys=True).encode()).hexdigest()[:16]
    deployment["metadata"]["annotations"] = {DIGEST: digest}
    return objects


def _labels(name: str, model: str, environment: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": "scoring",
        "app.kubernetes.io/managed-by": "mlops-loop",
        MODEL: model,
        ENVIRONMENT: environment,
    }


def _secret(name: str, secrets: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": name},
        "stringData": dict(secrets),
    }


def _env(settings: Settings, model: str, environment: str, limits: Mapping[str, str]) -> list[dict[str, str]]:
    sign_in = {"MLOPS_AZURE_SIGN_IN": "workload_identity"}  # Its variables come from the cluster's webhook.
    told = variables(settings, model, environment, SECRETS_FOLDER, {**limits, **sign_in})
    return [{"name": name, "value": value} for name, value in told]
