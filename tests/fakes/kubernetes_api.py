"""A stand-in of a Kubernetes API server: applies, merges, reads and deletes objects, and rolls Deployments out.

Server-side apply follows https://kubernetes.io/docs/reference/using-api/server-side-apply with one simplification:
lists are owned as a whole. A pod is an entry that becomes ready after a moment; nothing runs.
"""

import base64
import copy
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Object = dict[str, Any]
Leaves = dict[tuple[str, ...], Any]
READY_SECONDS = 0.2
GIVEN = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")


class Refused(Exception):
    """An answer that is an error, as the API server has it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason,
            "message": message,
        }  # fmt: skip


class ApiServer:
    """The objects of one cluster by collection path and name; ``validate`` raises ``ValueError`` for a wrong one."""

    def __init__(self, validate: Callable[[Object], None], token: str) -> None:
        self.broken: dict[str, str] = {}
        """Images whose pods cannot start, and the reason that their containers wait for."""
        self.failing: list[int] = []
        """Statuses that the next requests are answered with."""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and body of each request."""
        self._validate = validate
        self._token = token
        self._objects: dict[str, dict[str, Object]] = {}
        self._owned: dict[str, dict[tuple[str, str], Leaves]] = {}
        self._pods: dict[str, list[Object]] = {}
        self._count = itertools.count(1)
        methods = ["GET", "POST", "PATCH", "DELETE"]
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        body = (await request.body()).decode()
        self.requests.append((request.method, request.url.path, body))
        if self.failing:
            status = self.failing.pop(0)
            return JSONResponse(Refused(status, "TooManyRequests", "try again").body, status)
        try:
            if request.headers.get("authorization") != f"Bearer {self._token}":
                raise Refused(401, "Unauthorized", "Unauthorized")
            return self._act(request, json.loads(body) if body else {})
        except Refused as error:
            return JSONResponse(error.body, error.status)

    def _act(self, request: Request, body: Object) -> Response:
        self._roll_out()
        collection, name, sub = _split(request.url.path)
        if sub == "log":
            return self._log(name)
        match request.method:
            case "GET" if not name:
                found = self._select(collection, request.query_params.get("labelSelector", ""))
                return JSONResponse({"kind": "List", "apiVersion": "v1", "items": found})
            case "GET":
                return JSONResponse(self._read(collection, name))
            case "POST":
                if body["metadata"]["name"] in self._objects.get(collection, {}):
                    raise Refused(409, "AlreadyExists", f'"{body["metadata"]["name"]}" already exists')
                return JSONResponse(self._store(collection, body, None), 201)
            case "DELETE":
                return JSONResponse(self._delete(collection, name))
        if "apply-patch" in request.headers["content-type"]:
            return self._apply(collection, name, body, request)
        return self._merge(collection, name, body, request)

    def _apply(self, collection: str, name: str, body: Object, request: Request) -> Response:
        manager = request.query_params.get("fieldManager")
        if not manager:
            raise Refused(400, "BadRequest", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        try:
            self._validate(body)
        except ValueError as error:
            raise Refused(400, "BadRequest", f"strict decoding error: {error}") from None
        known = self._objects.get(collection, {}).get(name)
        owned = self._owned.setdefault(f"{collection}/{name}", {})
        wanted, mine = _leaves(body), (manager, "Apply")
        current = _leaves(known or {})
        rivals = {
            who[0]: path
            for who, fields in owned.items() if who != mine
            for path in fields if path in wanted and wanted[path] != current.get(path)
        }  # fmt: skip
        if rivals and request.query_params.get("force") != "true":
            told = ", ".join(f'conflict with "{who}": .{".".join(path)}' for who, path in rivals.items())
            raise Refused(409, "Conflict", f"Apply failed with {len(rivals)} conflict: {told}")
        merged = copy.deepcopy(known or {})
        for path in owned.get(mine, {}):
            if path not in wanted and not any(path in fields for who, fields in owned.items() if who != mine):
                _remove(merged, path)
        for path, value in wanted.items():
            _set(merged, path, value)
        for who in [who for who in owned if who != mine]:
            owned[who] = {path: value for path, value in owned[who].items() if path not in wanted}
        owned[mine] = wanted
        return JSONResponse(self._store(collection, merged, known), 200 if known else 201)

    def _merge(self, collection: str, name: str, patch: Object, request: Request) -> Response:
        """RFC 7396."""
        known = self._read(collection, name)
        merged = _merged(copy.deepcopy(known), patch)
        fields = self._owned.setdefault(f"{collection}/{name}", {})
        mine = (request.query_params.get("fieldManager", "unknown"), "Update")
        fields[mine] = fields.get(mine, {}) | _leaves(patch)
        return JSONResponse(self._store(collection, merged, known))

    def _store(self, collection: str, body: Object, known: Object | None) -> Object:
        for key, text in body.pop("stringData", {}).items():
            body.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
        meta = body["metadata"]
        number = next(self._count)
        before = known["metadata"] if known else {"uid": f"uid-{number}", "generation": 0}
        if collection.endswith("/deployments"):
            body["spec"].setdefault("replicas", 1)
        changed = known is None or known.get("spec") != body.get("spec")
        meta |= {"uid": before["uid"], "resourceVersion": str(number)}
        meta["generation"] = before["generation"] + changed
        self._objects.setdefault(collection, {})[meta["name"]] = body
        self._roll_out()
        return body

    def _read(self, collection: str, name: str) -> Object:
        try:
            return self._objects[collection][name]
        except KeyError:
            raise Refused(404, "NotFound", f'{collection.rpartition("/")[2]} "{name}" not found') from None

    def _delete(self, collection: str, name: str) -> Object:
        self._read(collection, name)
        self._owned.pop(f"{collection}/{name}", None)
        self._pods.pop(name, None)
        return self._objects[collection].pop(name)

    def _select(self, collection: str, selector: str) -> list[Object]:
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        if collection.endswith("/pods"):
            found = [pod for pods in self._pods.values() for pod in pods]
        else:
            found = list(self._objects.get(collection, {}).values())
        return [each for each in found if wanted.items() <= each["metadata"].get("labels", {}).items()]

    def _log(self, name: str) -> Response:
        for pod in self._select("/pods", ""):
            if pod["metadata"]["name"] == name:
                image = pod["status"]["containerStatuses"][0]["image"]
                return PlainTextResponse(f"{image} starts\n{self.broken.get(image, 'listens on http://0.0.0.0:8080')}")
        raise Refused(404, "NotFound", f'pods "{name}" not found')

    def _roll_out(self) -> None:
        """What the controllers do: new pods first, old ones go when those are ready."""
        for collection, objects in self._objects.items():
            if collection.endswith("/deployments"):
                for name, deployment in objects.items():
                    self._roll(name, deployment)

    def _roll(self, name: str, deployment: Object) -> None:
        replicas, template = deployment["spec"]["replicas"], deployment["spec"]["template"]
        text = json.dumps(template, sort_keys=True)
        pods = self._pods.setdefault(name, [])
        new = [pod for pod in pods if pod["template"] == text]
        new += [self._pod(name, template, text) for _ in range(replicas - len(new))]
        for pod in new:
            _refresh(pod, self.broken.get(pod["status"]["containerStatuses"][0]["image"], ""))
        ready = [pod for pod in new if _is_ready(pod)]
        # Old pods answer until all new ones do.
        old = [] if len(ready) >= replicas else [pod for pod in pods if pod["template"] != text and _is_ready(pod)]
        self._pods[name] = new[:replicas] + old
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self._pods[name]),
            "updatedReplicas": len(new[:replicas]),
            "availableReplicas": len([pod for pod in self._pods[name] if _is_ready(pod)]),
        }

    def _pod(self, name: str, template: Object, text: str) -> Object:
        image = template["spec"]["containers"][0]["image"]
        return {
            "metadata": {"name": f"{name}-{next(self._count)}", "labels": template["metadata"]["labels"]},
            "template": text,
            "made": time.monotonic(),
            "status": {"containerStatuses": [{"image": image, "ready": False, "state": {}}]},
        }


def _refresh(pod: Object, broken: str) -> None:
    (status,) = pod["status"]["containerStatuses"]
    if broken:
        status |= {"ready": False, "state": {"waiting": {"reason": broken, "message": f"{broken} {status['image']}"}}}
    elif time.monotonic() - pod["made"] > READY_SECONDS:
        status |= {"ready": True, "state": {"running": {}}}


def _is_ready(pod: Object) -> bool:
    return bool(pod["status"]["containerStatuses"][0]["ready"])


def _split(path: str) -> tuple[str, str, str]:
    """Split a path into collection, name and subresource."""
    parts = path.strip("/").split("/")
    at = parts.index("namespaces") + 3
    name, sub = [*parts[at:], "", ""][:2]
    return "/" + "/".join(parts[:at]), name, sub


def _leaves(body: Object, path: tuple[str, ...] = ()) -> Leaves:
    """The fields of an object, without what names it or the server gives."""
    found: Leaves = {}
    for key, value in body.items():
        here = (*path, key)
        if here in (("apiVersion",), ("kind",), ("status",)) or (path == ("metadata",) and key in GIVEN):
            continue
        found |= _leaves(value, here) if isinstance(value, dict) and value else {here: value}
    return found | ({("apiVersion",): body["apiVersion"], ("kind",): body["kind"]} if "apiVersion" in body else {})


def _set(body: Object, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        body = body.setdefault(key, {})
    body[path[-1]] = value


def _remove(body: Object, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        body = body.get(key, {})
    body.pop(path[-1], None)


def _merged(body: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    body = body if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            body.pop(key, None)
        else:
            body[key] = _merged(body.get(key), value)
    return body
