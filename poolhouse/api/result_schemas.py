"""In the OpenAPI document: what the tasks of each type return, and their records with that result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import PydanticUserError, TypeAdapter

from poolhouse.pipeline import json_values
from poolhouse.pipeline.tasks.records import PRIVATE
from poolhouse.worker.registry import Registry

REF = "#/components/schemas/"
_JSON = "application/json"


def schema_name(prefix: str, task_type: str) -> str:
    """Return the name of a task type's schema. OpenAPI, Components Object: no other characters are allowed in one."""
    return f"{prefix}." + re.sub(r"[^A-Za-z0-9._-]", lambda found: f"x{ord(found[0]):x}", task_type)


def add(built: dict[str, Any], registry: Registry) -> None:
    """Describe the results of every task type, in the document's components and in the calls that answer with them."""
    schemas: dict[str, Any] = built["components"]["schemas"]
    results = _results(registry, schemas)
    record = schemas.pop("TaskRecord")
    properties = {name: field for name, field in record["properties"].items() if name not in PRIVATE}
    # A task that was cancelled before a worker read it: its type is not known.
    unread = {"task_type": {"type": "string", "const": ""}, "result": {"type": "null"}}
    schemas["UnreadTask"] = {**record, "properties": {**properties, **unread}}
    schemas["UnreadTask"]["description"] = "A task that was cancelled before a worker had read it."
    records = []
    for task_type, result in results.items():
        own = {
            "task_type": {"type": "string", "const": task_type},
            "result": {
                "anyOf": [result, {"type": "null"}],
                "description": "Once the task has succeeded; absent where it is large: GET /tasks/{id}/result has it.",
            },
        }
        schemas[schema_name("Task", task_type)] = {
            **record,
            "description": f"A task of the type {task_type}.",
            "properties": {**properties, **own},
        }
        records.append(REF + schema_name("Task", task_type))
    records += [f"{REF}UnreadTask", f"{REF}QueuedTask"]  # the vaguest last: some clients take the first that fits
    schemas["Task"] = {"anyOf": [{"$ref": name} for name in records], "description": "A task; its type is task_type."}
    schemas["Result"] = {"anyOf": [json.loads(text) for text in dict.fromkeys(map(json.dumps, results.values()))]}
    paths = built["paths"]
    paths["/tasks/{task_id}"]["get"]["responses"]["200"]["content"] = _content("Task")
    paths["/tasks/{task_id}/result"]["get"]["responses"]["200"]["content"] = _content("Result")


def title(schemas: dict[str, Any]) -> None:
    """Give every schema a title of its own: generators of clients name classes by it, however they spell names."""
    taken: set[str] = set()
    for name in sorted(schemas):
        text, number = name, 1
        while re.sub(r"[^a-z0-9]", "", text.lower()) in taken:
            number += 1
            text = f"{name}.{number}"
        taken.add(re.sub(r"[^a-z0-9]", "", text.lower()))
        schemas[name] = {**schemas[name], "title": text}


def _results(registry: Registry, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the results by task type; those of the models in them are added to `schemas`."""
    adapters: dict[str, TypeAdapter[Any]] = {}
    for handler in registry.values():
        try:
            adapters[handler.task_type] = json_values.adapter(handler.result_type)
            # As results are written (`poolhouse.pipeline.json_values.encode`): under the fields' own names.
            adapters[handler.task_type].json_schema(mode="serialization", by_alias=False)
        except PydanticUserError:
            adapters[handler.task_type] = TypeAdapter(Any)  # an annotation that JSON Schema has no words for
    found, definitions = TypeAdapter.json_schemas(
        [(task_type, "serialization", adapter) for task_type, adapter in adapters.items()],
        by_alias=False,
        ref_template=REF + "{model}",
    )
    models = dict(definitions.get("$defs", {}))
    clashing = [name for name in models if name in schemas and schemas[name] != models[name]]
    if clashing:  # a model that is a payload too, and is written otherwise than it is read
        shared = [name for name in models if name in schemas]
        found, models = _renamed(found, shared), _renamed(models, shared)
        models = {f"{name}.Result" if name in shared else name: schema for name, schema in models.items()}
    schemas.update(models)
    return {task_type: found[task_type, "serialization"] for task_type in adapters}


def _renamed(value: Any, names: Iterable[str]) -> Any:
    """The same with other references: `NAME.Result` in the place of `NAME`."""
    known = set(names)
    match value:
        case dict():
            ref = value.get("$ref", "")
            if isinstance(ref, str) and ref.removeprefix(REF) in known:
                return {**value, "$ref": f"{ref}.Result"}
            return {name: _renamed(part, known) for name, part in value.items()}
        case list():
            return [_renamed(part, known) for part in value]
    return value


def _content(name: str) -> Mapping[str, Any]:
    return {_JSON: {"schema": {"$ref": REF + name}}}
