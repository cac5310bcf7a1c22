"""The OpenAPI document: FastAPI's own, and in it the payload types of every registered task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from poolhouse.api import links, planned_schemas, result_schemas
from poolhouse.api.drafts import MAX_BATCH
from poolhouse.api.examples import example
from poolhouse.api.problems import MEDIA_TYPE, ProblemDocument
from poolhouse.api.result_schemas import REF, schema_name
from poolhouse.api.routes.files import NewFile
from poolhouse.api.routes.submissions import TASK_TYPE
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.tasks.unique import Unique
from poolhouse.pipeline.timing.delays import LONGEST_WAIT_S
from poolhouse.pipeline.webhooks.urls import MAX_URL_LENGTH
from poolhouse.worker.registry import Handler, Registry

_JSON = "application/json"


def document(app: FastAPI, registry: Registry, topology: Topology) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    built = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    schemas: dict[str, Any] = built.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of errors, which ours replaces
        schemas.pop(unused, None)
    references, models = _models(registry)
    payloads = dict(models.get("$defs", {}))
    schemas.update(payloads)
    names = {
        handler.task_type: references[(handler.payload_type, "validation")]["$ref"].removeprefix(REF)
        for handler in registry.values()
    }
    queues = {"type": "string", "enum": list(topology.by_name), "description": "Instead of the task type's own queue."}
    for handler in registry.values():
        payload = payloads[names[handler.task_type]]
        schemas[schema_name("FlatTask", handler.task_type)] = _flat(handler, payload, payloads)
        schemas[schema_name("NewTask", handler.task_type)] = _nested(
            handler, names[handler.task_type], payload, payloads, queues
        )
    schemas["FlatTask"] = _union("FlatTask", registry)
    schemas["NewTask"] = _union("NewTask", registry)
    schemas["NewTasks"] = {
        "type": "object",
        "required": ["tasks"],
        "additionalProperties": False,
        "properties": {
            "tasks": {"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": {"$ref": f"{REF}NewTask"}}
        },
    }
    planned_schemas.add(schemas, registry, queues=queues, payloads=names)
    schemas["Replay"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "payload": {
                "anyOf": [
                    *({"$ref": f"{REF}{name}"} for name in dict.fromkeys(names.values())),
                    {"type": "null"},
                ],
                "description": "Used instead of the original payload; checked like that of a new task.",
            }
        },
    }
    _bodies(built["paths"], schemas, registry)
    result_schemas.add(built, registry)
    result_schemas.title(schemas)
    _problems(built["paths"])
    links.add(built["paths"], schemas)
    _drop_what_json_has_no_form_for(built)
    return built


def _models(registry: Registry) -> tuple[Mapping[Any, Any], Mapping[str, Any]]:
    """References to the schemas of our models and the payloads', and the schemas; names that clash are made longer."""
    return models_json_schema(
        [
            (ProblemDocument, "serialization"),
            (NewFile, "validation"),
            (Unique, "validation"),
            *((handler.payload_type, "validation") for handler in registry.values()),
        ],
        ref_template=f"{REF}{{model}}",
    )


def _flat(handler: Handler, payload: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in payload.items() if key not in {"examples", "title"}}
    return {
        **schema,
        "description": handler.summary,
        "properties": {
            "task_type": {"type": "string", "const": handler.task_type},
            **payload.get("properties", {}),
        },
        "required": ["task_type", *payload.get("required", [])],
        "examples": [{"task_type": handler.task_type, **example(payload, definitions)}],
    }


def _nested(
    handler: Handler,
    name: str,
    payload: Mapping[str, Any],
    definitions: Mapping[str, Any],
    queues: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "type": "object",
        "description": handler.summary,
        "additionalProperties": False,
        "properties": {
            "task_type": {"type": "string", "const": handler.task_type},
            "payload": {"$ref": f"{REF}{name}"},
            "queue": {**queues, "type": ["string", "null"], "enum": [*queues["enum"], None]},
            "delay_s": {
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": LONGEST_WAIT_S,
                "description": "Seconds before which the task does not run.",
            },
            "run_at": {
                "type": ["string", "null"],
                "format": "date-time",
                "description": "The time, with its zone, before which the task does not run; instead of delay_s.",
            },
            "webhook_url": {
                "type": ["string", "null"],
                "format": "uri",
                "maxLength": MAX_URL_LENGTH,
                "description": "The URL to call when the task has ended; instead of its type's.",
            },
            "unique": {
                "anyOf": [{"$ref": f"{REF}Unique"}, {"type": "null"}],
                "description": "When it is the same as another task, of which one is submitted; instead of its type's.",
            },
            "then": planned_schemas.CHAIN,
            "on_failure": planned_schemas.FAILURE,
        },
        "required": ["task_type", *(["payload"] if payload.get("required") else [])],
        "examples": [{"task_type": handler.task_type, "payload": example(payload, definitions)}],
    }


def _union(name: str, registry: Registry) -> dict[str, Any]:
    refs = {task_type: REF + schema_name(name, task_type) for task_type in registry}
    return {
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "task_type", "mapping": refs},
    }


def _bodies(paths: dict[str, Any], schemas: Mapping[str, Any], registry: Registry) -> None:
    for path, name in {"/submit-task": "FlatTask", "/tasks": "NewTask", "/tasks:batch": "NewTasks"}.items():
        examples = {
            task_type: {"value": schemas[schema_name(name, task_type)]["examples"][0]}
            for task_type in registry
            if schema_name(name, task_type) in schemas
        }
        if name == "NewTasks":
            tasks = [schemas[schema_name("NewTask", task_type)]["examples"][0] for task_type in registry]
            examples = {"one of each": {"value": {"tasks": tasks}}}
        paths[path]["post"]["requestBody"] = _body({"$ref": f"{REF}{name}"}, examples)
    for operations in paths.values():
        task_type = operations.get("post", {}).get(TASK_TYPE)
        if task_type in registry:
            flat = schemas[schema_name("FlatTask", task_type)]
            optional = {
                **{name: part for name, part in flat.items() if name != "title"},
                "required": [name for name in flat["required"] if name != "task_type"],
            }
            value = {key: item for key, item in flat["examples"][0].items() if key != "task_type"}
            operations["post"]["requestBody"] = _body(optional, {task_type: {"value": value}})
    planned_schemas.bodies(paths, schemas)
    file = {"name": "data.csv", "content_type": "text/csv"}
    paths["/files"]["post"]["requestBody"] = _body({"$ref": f"{REF}NewFile"}, {"file": {"value": file}})


def _body(schema: Mapping[str, Any], examples: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {_JSON: {"schema": dict(schema), "examples": dict(examples)}}}


def _problems(paths: Mapping[str, Any]) -> None:
    """Every call may answer with a problem document."""
    answer = {
        "description": "A problem document.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"{REF}ProblemDocument"}}},
    }
    for operations in paths.values():
        for operation in operations.values():
            responses = operation["responses"]
            responses.pop("422", None)
            for status, described in responses.items():
                if status.startswith("4"):
                    described["content"] = answer["content"]
            responses["default"] = answer


def _drop_what_json_has_no_form_for(document: Any) -> None:
    """Take nan and the infinities out, which a model may have for a default, a bound or in an example."""
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for name, value in reversed(list(entries)):
        if isinstance(value, float) and not math.isfinite(value):
            del document[name]
        elif isinstance(value, dict | list):
            _drop_what_json_has_no_form_for(value)
