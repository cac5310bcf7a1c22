"""The OpenAPI schemas of tasks that are submitted later: members of groups, joins, chains, what follows a failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse.api.drafts import MAX_BATCH
from poolhouse.api.result_schemas import REF, schema_name
from poolhouse.pipeline.groups.group import MAX_MEMBERS
from poolhouse.worker.plans import MAX_CHAIN
from poolhouse.worker.registry import Registry

_JSON = "application/json"
#: `on_failure`, wherever it may stand.
FAILURE: dict[str, Any] = {
    "anyOf": [{"$ref": f"{REF}LinkedTask"}, {"type": "null"}],
    "description": "Follows where it fails for good: `into` is handed task_id, task_type, status and reason.",
}
#: `then` of a task.
CHAIN: dict[str, Any] = {
    "type": ["array", "null"],
    "maxItems": MAX_CHAIN,
    "items": {"$ref": f"{REF}LinkedTask"},
    "description": "The tasks that follow its success, one after the other: each is handed the result of the one "
    "before it, as the field `into`, or else the result's fields as its payload's.",
}


def add(schemas: dict[str, Any], registry: Registry, *, queues: Mapping[str, Any], payloads: Mapping[str, str]) -> None:
    """Add the schemas.

    Args:
        queues: the schema of a queue's name.
        payloads: the names of the payloads' schemas, by task type.
    """
    queue = {**queues, "type": ["string", "null"], "enum": [*queues["enum"], None]}
    counted = [handler for handler in registry.values() if handler.record and handler.unique is None]
    schemas["LinkedTask"] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["task_type"],
        "properties": {
            "task_type": {"type": "string", "enum": list(registry)},
            "payload": {"type": "object", "description": "What is known of its payload before."},
            "queue": queue,
            "into": {"type": ["string", "null"], "description": "The payload's field that takes what came before."},
        },
    }
    for name, further in (("GroupMember", {}), ("GroupJoin", {"then": CHAIN})):
        for handler in counted:
            required = schemas[payloads[handler.task_type]].get("required")
            schemas[schema_name(name, handler.task_type)] = {
                "type": "object",
                "additionalProperties": False,
                "required": ["task_type", *(["payload"] if required else [])],
                "properties": {
                    "task_type": {"type": "string", "const": handler.task_type},
                    "payload": {"$ref": f"{REF}{payloads[handler.task_type]}"},
                    "queue": queue,
                    "on_failure": FAILURE,
                    **further,
                },
            }
        refs = {handler.task_type: REF + schema_name(name, handler.task_type) for handler in counted}
        schemas[name] = {
            "oneOf": [{"$ref": ref} for ref in refs.values()],
            "discriminator": {"propertyName": "task_type", "mapping": refs},
        }
    members = {"type": "array", "maxItems": MAX_BATCH, "items": {"$ref": f"{REF}GroupMember"}}
    schemas["NewGroup"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "tasks": {**members, "description": "All members; left out where `open` is true."},
            "open": {"type": "boolean", "description": "Members are added by further calls."},
            "then": {
                "anyOf": [{"$ref": f"{REF}GroupJoin"}, {"type": "null"}],
                "description": "The join: it runs once all members have succeeded.",
            },
            "on_failure": {**FAILURE, "description": "Runs once, at the first member that fails for good."},
            "wait_for": {
                "type": "string",
                "enum": ["succeeded", "ended"],
                "description": "`ended`: the join runs once all members have ended, however.",
            },
        },
    }
    schemas["NewMembers"] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["offset", "tasks"],
        "properties": {
            "offset": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_MEMBERS - 1,
                "description": "How many members come before these.",
            },
            "tasks": {**members, "minItems": 1},
        },
    }
    schemas["GroupSize"] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 0, "maximum": MAX_MEMBERS, "description": "How many members it has."}
        },
    }


def bodies(paths: dict[str, Any], schemas: Mapping[str, Any]) -> None:
    """Give the calls of groups their bodies."""
    of_types = schemas["GroupMember"]["discriminator"]["mapping"]
    some = [schemas[schema_name("NewTask", task_type)]["examples"][0] for task_type in [*of_types][:1]]
    for path, name, example in (
        ("/groups", "NewGroup", {"tasks": some}),
        ("/groups/{group_id}:add", "NewMembers", {"offset": 0, "tasks": some}),
        ("/groups/{group_id}:close", "GroupSize", {"size": 1}),
    ):
        paths[path]["post"]["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": {"$ref": f"{REF}{name}"}, "examples": {name: {"value": example}}}},
        }
