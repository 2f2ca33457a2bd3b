"""The OpenAPI 3.1 description of one model's scoring service."""

from typing import Any

from mlops.core.bundle import ServedModel
from mlops.core.schema import Column, json_schema
from mlops.core.serving import Served
from mlops.scoring.config import Limits
from mlops.scoring.validation import MAX_NUMBER, may_be_absent

_REQUEST_ID = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Names the request in the prediction log; the service makes one when it is absent.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,80}$"},
    "example": "order-4711",
}
_REFUSALS = {
    "400": ("The body is not JSON", "the body is not JSON: Input data was truncated"),
    "401": ("No key, or a wrong one", "a valid key is needed: Authorization: Bearer KEY"),
    "408": ("The body did not arrive in time", "the body did not arrive within 30 s"),
    "413": ("The body is too large", "the body is larger than 8388608 bytes"),
    "422": ("A field cannot be used; the answer names it", "label: is missing"),
    "500": ("The model failed on this request", "version 3 failed on this request (RuntimeError)"),
    "503": (
        "No model serves yet, or too many requests are in flight, or the time is over",
        "256 requests are in flight",
    ),
}
_HEADERS = {
    "401": {"WWW-Authenticate": {"schema": {"type": "string"}, "example": "Bearer"}},
    "503": {"Retry-After": {"schema": {"type": "string"}, "description": "Seconds", "example": "1"}},
}


def describe(about: ServedModel, served: Served, limits: Limits) -> dict[str, Any]:
    """Describe the service that answers with this bundle."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{about.model} scoring",
            "version": served.version,
            "description": f"Bundle {served.digest}. A body has at most {limits.body} bytes and is answered "
            f"within {limits.seconds:g} s.",
        },
        "paths": {
            "/score": {"post": _score(about, limits)},
            "/feedback": {"post": _feedback(about, limits)},
            "/healthz": {"get": _probe("healthz", "Whether the process lives", "Health", {"200": "It does"})},
            "/startz": {
                "get": _probe(
                    "startz",
                    "Whether requests may come",
                    "Health",
                    {"200": "A model answers them, or none was released", "503": "The model is not loaded yet"},
                )
            },
            "/readyz": {
                "get": _probe("readyz", "What serves now", "Readiness", {"200": "A model serves", "503": "None yet"})
            },
            "/metrics": {"get": _metrics()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Record": _record(about),
                "Output": _output(about),
                "Probabilities": _probabilities(about),
                "Model": _object(dict.fromkeys(("name", "version", "digest"), _TEXT)),
                "Label": _label(about),
                "Error": _ERROR,
                "Health": _object({"status": _TEXT, "model": _TEXT, "environment": _TEXT, "pid": {"type": "integer"}}),
                "Readiness": _READINESS,
            },
        },
    }


def _score(about: ServedModel, limits: Limits) -> dict[str, Any]:
    single = _answer(_ref("Output"), _ref("Probabilities"))
    batch = _answer(_list(_ref("Output")), _list(_ref("Probabilities")))
    body = _one_or_many("Record", limits)
    if about.golden:
        record = about.golden[0].record
        body["content"]["application/json"]["examples"] = {
            "record": {"summary": "One record", "value": record},
            "list": {"summary": "A list", "value": [record, record]},
        }
    return {
        "summary": "Score one record or a list of them",
        "operationId": "score",
        "security": [{"key": []}],
        "parameters": [_REQUEST_ID],
        "requestBody": body,
        "responses": {"200": _json("The answer, or the answers in order", {"oneOf": [single, batch]})} | _refusals(),
    }


def _feedback(about: ServedModel, limits: Limits) -> dict[str, Any]:
    body = _one_or_many("Label", limits)
    body["content"]["application/json"]["example"] = _label(about)["examples"][0]
    accepted = _object({"accepted": {"type": "integer", "minimum": 1}})
    return {
        "summary": "Send the true label of answered records (record i of a list has the id `<request id>.<i>`)",
        "operationId": "feedback",
        "security": [{"key": []}],
        "requestBody": body,
        "responses": {"202": _json("The labels are queued for the log", accepted)} | _refusals(),
    }


def _record(about: ServedModel) -> dict[str, Any]:
    """The shape of a record, as the service checks it: what may be absent may be null too."""
    record = json_schema(about.data)
    for column in about.data.columns:
        record["properties"][column.name] = _field(column, record["properties"][column.name])
    if about.golden:
        record["examples"] = [about.golden[0].record]
    return record


def _field(column: Column, described: dict[str, Any]) -> dict[str, Any]:
    described = dict(described)
    if column.type in ("number", "integer"):
        described = {"minimum": -MAX_NUMBER, "maximum": MAX_NUMBER} | described
    if may_be_absent(column):
        if isinstance(described["type"], str):
            described["type"] = [described["type"], "null"]
        if column.type == "category":  # The empty text is a missing category.
            described.pop("minLength", None)
            described |= {"enum": [*column.values, "", None]} if column.values else {}
    return described


def _output(about: ServedModel) -> dict[str, Any]:
    target = about.data.target
    predicted: dict[str, Any] = {"type": "string", "enum": list(target.classes)}
    return _object({about.data.output: predicted | ({"description": target.description} if target.description else {})})


def _probabilities(about: ServedModel) -> dict[str, Any]:
    return _object({name: {"type": "number", "minimum": 0, "maximum": 1.001} for name in about.data.target.classes})


def _label(about: ServedModel) -> dict[str, Any]:
    classes = list(about.data.target.classes)
    label = _object(
        {
            "request_id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,90}$"},
            "label": {"type": "string", "enum": classes},
        }
    )
    return label | {"examples": [{"request_id": "order-4711", "label": classes[0]}]}


def _answer(output: dict[str, Any], probabilities: dict[str, Any]) -> dict[str, Any]:
    return _object({"output": output, "probabilities": probabilities, "request_id": _TEXT, "model": _ref("Model")})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT = {"type": "string"}
_SERVED = {"oneOf": [{"type": "null"}, _object({"digest": _TEXT, "version": _TEXT})]}
_PROBLEM = {
    "generation": {"type": ["integer", "null"]},
    "reason": _TEXT,
    "transient": {"type": "boolean", "description": "It lies with the store, and is tried again soon"},
}
_READINESS = _object(
    {
        "status": {"type": "string", "enum": ["ready", "not ready"]},
        "model": _TEXT,
        "environment": _TEXT,
        "generation": {"type": ["integer", "null"]},
        "champion": _SERVED,
        "shadow": _SERVED,
        "canary": _SERVED,
        "source": {
            "type": "string",
            "enum": ["store", "cache"],
            "description": "`cache`: the last good generation from disk, since the store's cannot be taken",
        },
        "error": {
            "description": "Why the newest serving state does not serve",
            "oneOf": [{"type": "null"}, _object(_PROBLEM)],
        },
    }
)
_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "string", "description": "The reason"},
        "fields": {
            "type": "array",
            "description": "Each field that cannot be used",
            "items": {
                "type": "object",
                "properties": {
                    "field": _TEXT,
                    "reason": _TEXT,
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


def _one_or_many(name: str, limits: Limits) -> dict[str, Any]:
    many = _list(_ref(name)) | {"minItems": 1, "maxItems": limits.batch}
    return {"required": True, "content": {"application/json": {"schema": {"oneOf": [_ref(name), many]}}}}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals() -> dict[str, Any]:
    answers = {}
    for code, (text, example) in _REFUSALS.items():
        answers[code] = _json(text, _ref("Error"))
        answers[code]["content"]["application/json"]["example"] = {"error": example}
        if code in _HEADERS:
            answers[code]["headers"] = _HEADERS[code]
    return answers


def _probe(name: str, summary: str, schema: str, answers: dict[str, str]) -> dict[str, Any]:
    responses = {code: _json(text, _ref(schema)) for code, text in answers.items()}
    return {"summary": summary, "operationId": name, "responses": responses}


def _metrics() -> dict[str, Any]:
    content = {"text/plain": {"schema": _TEXT}}
    return {
        "summary": "Counters for Prometheus",
        "operationId": "metrics",
        "responses": {"200": {"description": "Metrics", "content": content}},
    }
