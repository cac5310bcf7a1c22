"""A payload as a tree in which the names of files are links, also those that are only names below `uploads/`."""

from __future__ import annotations

from typing import Any

from poolhouse.client import schema
from poolhouse.client.client import Client
from poolhouse.local.console.files import objects
from poolhouse.local.console.task.json_tree import Node, tree
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.names import UPLOADS


def of_payload(api: Client, task_type: str, payload: dict[str, Any]) -> Node:
    """Make the tree of a payload; the task type may be one that is gone. Raises `ApiError`."""
    uploads = _upload_fields(api, task_type) if any(isinstance(value, str) for value in payload.values()) else ()

    def link(path: tuple[str, ...], text: str) -> str:
        return objects.address(UPLOADS + text) if len(path) == 1 and path[0] in uploads else objects.link(path, text)

    return tree(payload, link=link)


def _upload_fields(api: Client, task_type: str) -> tuple[str, ...]:
    try:
        return schema.payload(api.get("/openapi.json"), task_type).upload_fields
    except ConfigError:
        return ()
