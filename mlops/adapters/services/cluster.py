"""A namespace of a Kubernetes cluster: objects as JSON, through the official client's connection and sign-in."""

import json
import os
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from mlops.adapters.services import ServiceError
from mlops.settings import Settings, SettingsError

Manifest = dict[str, Any]
MANAGER = "mlops-loop"
TIMEOUT = (10, 30)
"""Seconds to connect and to read."""
RETRIES = Retry(
    4, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504), allowed_methods=None, raise_on_status=False
)
"""Each request may be repeated: an apply, a merge, a read or a delete ends the same."""
PATHS = {
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
}


class Cluster:
    """The objects of a namespace by kind and name.

    The client's generated methods and models are one per kind, and drop what they do not know; here every kind is
    treated alike. Each method raises ``ServiceError`` with what the cluster said.
    """

    def __init__(self, settings: Settings) -> None:
        self._namespace = settings.kubernetes_namespace
        self._client = client.ApiClient(_configuration(settings))

    def find(self, kind: str, name: str) -> Manifest | None:
        """One object, or none."""
        status, text = self._ask("GET", self._path(kind, name))
        return None if status == 404 else _parsed(status, text)

    def list(self, kind: str, selector: str) -> "list[Manifest]":
        """The objects that a label selector selects."""
        status, text = self._ask("GET", self._path(kind), {"labelSelector": selector})
        found: list[Manifest] = _parsed(status, text)["items"]
        return found

    def apply(self, manifest: Manifest) -> None:
        """Apply by the server: what we say becomes so, what others own (the autoscaler's replicas) stays."""
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        path = self._path(manifest["kind"], manifest["metadata"]["name"])
        _parsed(*self._ask("PATCH", path, query, manifest, "application/apply-patch+yaml"))

    def merge(self, kind: str, name: str, patch: Manifest) -> None:
        """Change what the patch names, and nothing else."""
        query = {"fieldManager": MANAGER}
        _parsed(*self._ask("PATCH", self._path(kind, name), query, patch, "application/merge-patch+json"))

    def delete(self, kind: str, name: str) -> None:
        """Remove an object with what it owns; nothing happens when there is none."""
        status, text = self._ask("DELETE", self._path(kind, name), body={"propagationPolicy": "Foreground"})
        if status != 404:
            _parsed(status, text)

    def log(self, pod: str, lines: int) -> str:
        """The last lines of a pod's log; empty when its container has not started yet."""
        status, text = self._ask("GET", f"{self._path('Pod', pod)}/log", {"tailLines": str(lines)})
        return text if status == 200 else ""

    def _path(self, kind: str, name: str = "") -> str:
        return "/".join(filter(None, [PATHS[kind].format(self._namespace), name]))

    def _ask(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content: str = "application/json",
    ) -> tuple[int, str]:
        request = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Content-Type": content, "Accept": "application/json"},
            body=json.dumps(body) if content.endswith("yaml") else body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=TIMEOUT).response
        except HTTPError as error:
            raise ServiceError(f"Kubernetes does not answer to {method} {path}: {error}") from None
        return answer.status, answer.data.decode("utf-8", "replace")


def _parsed(status: int, text: str) -> Manifest:
    if status >= 300:
        try:
            reason = json.loads(text)["message"]
        except (ValueError, KeyError, TypeError):
            reason = text[:500]
        raise ServiceError(f"Kubernetes answered {status}: {reason}")
    parsed: Manifest = json.loads(text)
    return parsed


def _configuration(settings: Settings) -> client.Configuration:
    """Of the named context, of the cluster that this process runs in, or of the current context."""
    told = client.Configuration(retries=RETRIES)
    try:
        if settings.kubernetes_context or "KUBERNETES_SERVICE_HOST" not in os.environ:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=os.environ.get("KUBECONFIG"),
                context=settings.kubernetes_context or None,
                client_configuration=told,
            )
        else:
            config.load_incluster_config(client_configuration=told)  # type: ignore[no-untyped-call]
    except config.ConfigException as error:
        raise SettingsError(
            f"no cluster to run scoring services in: {error}; set kubernetes_context (MLOPS_KUBERNETES_CONTEXT), "
            "and get it by `az aks get-credentials`"
        ) from None
    return told
