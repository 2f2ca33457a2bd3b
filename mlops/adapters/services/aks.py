"""Scoring services on Kubernetes: Deployment, Service, autoscaler, disruption budget and ingress of each."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from mlops.adapters.services import Service, ServiceError
from mlops.adapters.services.aks_manifests import (
    DIGEST,
    ENVIRONMENT,
    MODEL,
    OWNED,
    build_manifests,
    host_name,
    object_name,
)
from mlops.adapters.services.cluster import Cluster, Manifest
from mlops.adapters.services.container import limits, secret_files
from mlops.adapters.services.keys import ensure_key, find_key
from mlops.settings import Settings

logger = logging.getLogger(__name__)
START_SECONDS = 160.0
POLL_SECONDS = 0.5
KINDS = ("Secret", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress")
STUCK = (
    "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError",
)  # fmt: skip


class AksServices:
    """One set of objects per service, applied by the server; old pods answer until new ones do."""

    def __init__(self, settings: Settings) -> None:
        settings.require("azure_registry", "kubernetes_domain")
        self._settings = settings
        self._cluster = Cluster(settings)

    def ensure(self, model: str, environment: str) -> Service:
        name = object_name(model, environment)
        keys = ensure_key(self._settings, model, environment)
        wanted, before = self._wanted(model, environment, keys), self._find(name)
        if change := _change(before, wanted):
            logger.warning("%s: %s", name, change)
        for manifest in wanted:
            self._cluster.apply(manifest)
        if before and not _replicas(before):
            self._scale(name, self._settings.kubernetes_min_replicas)
        self._wait(name, before)
        return self.describe(model, environment)

    def changes(self, model: str, environment: str) -> str:
        found = self._find(object_name(model, environment))
        if not found or not _is_available(found):
            return ""
        return _change(found, self._wanted(model, environment, find_key(self._settings, model, environment)))

    def describe(self, model: str, environment: str) -> Service:
        if found := self._find(object_name(model, environment)):
            return self._service(found)
        return Service(model=model, environment=environment, url="", status="absent")

    def logs(self, model: str, environment: str, lines: int = 200) -> str:
        texts = [self._cluster.log(_name(pod), lines) for pod in self._pods(object_name(model, environment))]
        return "\n".join("\n".join(texts).splitlines()[-lines:])

    def remove(self, model: str, environment: str) -> None:
        name = object_name(model, environment)
        for kind in reversed(KINDS):
            self._cluster.delete(kind, name)
        self._until(lambda: self._find(name) is None, f"{name} is still there")

    def stop(self, model: str, environment: str) -> None:
        name = object_name(model, environment)
        if self._find(name):
            self._scale(name, 0)
            self._until(lambda: not self._pods(name), f"{name} still has pods")

    def recorded(self) -> list[Service]:
        found = map(self._service, self._cluster.list("Deployment", OWNED))
        return sorted(found, key=lambda each: (each.model, each.environment))

    def _wanted(self, model: str, environment: str, keys: Path | None) -> list[Manifest]:
        secrets = secret_files(self._settings, keys)
        return build_manifests(self._settings, model, environment, limits(), secrets)

    def _find(self, name: str) -> Manifest | None:
        return self._cluster.find("Deployment", name)

    def _pods(self, name: str) -> list[Manifest]:
        return self._cluster.list("Pod", f"app.kubernetes.io/name={name}")

    def _scale(self, name: str, replicas: int) -> None:
        """At no replicas the autoscaler rests, too."""
        self._cluster.merge("Deployment", name, {"spec": {"replicas": replicas}})

    def _wait(self, name: str, before: Manifest | None) -> None:
        """Wait until every pod is new and ready.

        Raises:
            ServiceError: a pod cannot start, or it takes too long; the message says why and ends with its log. A
                service that ran is put back, whose pods still answer, so nobody notices; a new one is scaled to none.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ((found := self._find(name)) and _is_rolled_out(found)):
            stuck = next(filter(None, map(_stuck, self._pods(name))), "")
            if stuck or time.monotonic() > deadline:
                log = "\n".join(self._cluster.log(_name(pod), 20) for pod in self._pods(name) if not _is_ready(pod))
                if before and _replicas(before):
                    annotations = {DIGEST: _digest(before)}
                    template = before["spec"]["template"]
                    patch = {"metadata": {"annotations": annotations}, "spec": {"template": template}}
                    self._cluster.merge("Deployment", name, patch)
                else:
                    self._scale(name, 0)
                how = stuck or f"is not ready after {START_SECONDS:g} s"
                raise ServiceError(f"the scoring service {name} {how}; the end of its log:\n{log}")
            time.sleep(POLL_SECONDS)

    def _until(self, condition: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise ServiceError(f"{problem} after {START_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def _service(self, found: Manifest) -> Service:
        model, environment = (found["metadata"]["labels"][label] for label in (MODEL, ENVIRONMENT))
        return Service(
            model=model,
            environment=environment,
            url=f"https://{host_name(self._settings, model, environment)}",
            status="running" if _is_available(found) else "stopped",
        )


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _change(found: Manifest | None, wanted: list[Manifest]) -> str:
    """What the next ``ensure`` does to a service that runs; empty when nothing."""
    deployment = next(each for each in wanted if each["kind"] == "Deployment")
    if found is None or _digest(found) == _digest(deployment):
        return ""
    was, shall = _image(found), _image(deployment)
    what = f"its image changes from {was} to {shall}" if was != shall else "its settings changed"
    return f"{what}: it is replaced pod by pod, and answers throughout"


def _digest(deployment: Manifest) -> str:
    return str(deployment["metadata"].get("annotations", {}).get(DIGEST))


def _image(deployment: Manifest) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def _name(thing: Manifest) -> str:
    return str(thing["metadata"]["name"])


def _replicas(deployment: Manifest) -> int:
    return int(deployment["spec"].get("replicas", 0))


def _is_available(deployment: Manifest) -> bool:
    return bool(_replicas(deployment) and deployment.get("status", {}).get("availableReplicas"))


def _is_rolled_out(deployment: Manifest) -> bool:
    """What ``kubectl rollout status`` waits for."""
    status = deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return False
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {_replicas(deployment)} != {0}


def _stuck(pod: Manifest) -> str:
    """Why a pod cannot start by itself; empty while it may."""
    for container in pod.get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in STUCK:
            return f"cannot start: {waiting['reason']}: {waiting.get('message') or container.get('image')}"
    return ""
