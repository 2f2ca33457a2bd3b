"""The OpenAPI 3.1 description of one model's scoring service."""

from typing import Any

from mlops.core.bundle import ServedModel
from mlops.core.schema import json_schema
from mlops.core.serving import Served
from mlops.scoring.validation import MAX_BATCH

_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Names the request in the prediction log; the service makes one when it is absent.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,80}$"},
}
_REFUSALS = {
    "400": "The body is not JSON",
    "401": "No key, or a wrong one",
    "413": "The body or the list is too large",
    "422": "A field cannot be used; the answer names it",
    "503": "No model serves yet",
}


def describe(about: ServedModel, served: Served) -> dict[str, Any]:
    """Describe the service that answers with this bundle."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{about.model} scoring",
            "version": served.version,
            "description": f"Bundle {served.digest}",
        },
        "paths": {
            "/score": {"post": _score(about)},
            "/feedback": {"post": _feedback(about)},
            "/healthz": {"get": _probe("Whether the process lives", {"200": "It does"})},
            "/readyz": {"get": _probe("What serves now", {"200": "A model serves", "503": "None does yet"})},
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Record": _record(about), "Output": _output(about), "Error": _ERROR},
        },
    }


def _score(about: ServedModel) -> dict[str, Any]:
    single = _answer({"$ref": "#/components/schemas/Output"}, _probabilities(about))
    batch = _answer(_list({"$ref": "#/components/schemas/Output"}), _list(_probabilities(about)))
    return {
        "summary": "Score one record or a list of them",
        "operationId": "score",
        "security": [{"key": []}],
        "parameters": [_REQUEST_ID],
        "requestBody": _one_or_many({"$ref": "#/components/schemas/Record"}),
        "responses": {"200": _json("The answer, or the answers in order", {"oneOf": [single, batch]})} | _refusals(),
    }


def _feedback(about: ServedModel) -> dict[str, Any]:
    label = {
        "type": "object",
        "properties": {
            "request_id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,90}$"},
            "label": {"type": "string", "enum": list(about.data.target.classes)},
        },
        "required": ["request_id", "label"],
        "additionalProperties": False,
    }
    accepted = {"type": "object", "properties": {"accepted": {"type": "integer"}}, "required": ["accepted"]}
    return {
        "summary": "Send the true label of answered records (record i of a batch has the id `<request id>.<i>`)",
        "operationId": "feedback",
        "security": [{"key": []}],
        "requestBody": _one_or_many(label),
        "responses": {"202": _json("The labels are queued for the log", accepted)} | _refusals(),
    }


def _record(about: ServedModel) -> dict[str, Any]:
    record = json_schema(about.data)
    if about.golden:
        record["examples"] = [about.golden[0].record]
    return record


def _output(about: ServedModel) -> dict[str, Any]:
    target = about.data.target
    predicted = {"type": "string", "enum": list(target.classes)}
    predicted |= {"description": target.description} if target.description else {}
    return {"type": "object", "properties": {about.data.output: predicted}, "required": [about.data.output]}


def _probabilities(about: ServedModel) -> dict[str, Any]:
    classes = about.data.target.classes
    return {"type": "object", "properties": {name: {"type": "number"} for name in classes}, "required": list(classes)}


def _answer(output: dict[str, Any], probabilities: dict[str, Any]) -> dict[str, Any]:
    model = {"type": "object", "properties": {name: {"type": "string"} for name in ("name", "version", "digest")}}
    properties = {"output": output, "probabilities": probabilities, "request_id": {"type": "string"}, "model": model}
    return {"type": "object", "properties": properties, "required": list(properties)}


_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string"},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "reason": {"type": "string"},
                    "index": {"type": "integer", "description": "Place of the record in the list, from 0"},
                },
                "required": ["field", "reason"],
            },
        },
    },
    "required": ["error"],
}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _one_or_many(item: dict[str, Any]) -> dict[str, Any]:
    many = _list(item) | {"minItems": 1, "maxItems": MAX_BATCH}
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": [item, many]}}}}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals() -> dict[str, Any]:
    return {code: _json(text, {"$ref": "#/components/schemas/Error"}) for code, text in _REFUSALS.items()}


def _probe(summary: str, answers: dict[str, str]) -> dict[str, Any]:
    return {"summary": summary, "responses": {code: _json(text, {"type": "object"}) for code, text in answers.items()}}


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {"summary": "Counters for Prometheus", "responses": {"200": {"description": "Metrics", "content": content}}}
