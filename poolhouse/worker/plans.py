"""Tasks that are to be submitted later, checked when they are declared: members, joins, chains, after a failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import ValidationError

from poolhouse.pipeline import json_values
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import InvalidValue
from poolhouse.pipeline.messaging.message import RESERVED_FIELDS
from poolhouse.pipeline.tasks.links import Link, Planned
from poolhouse.worker.registry import Handler, Registry

#: Tasks in one chain, behind the first.
MAX_CHAIN = 100


class Place(Enum):
    """Where a planned task stands."""

    MEMBER = "a member of a group"
    JOIN = "the join of a group"
    NEXT = "a task of a chain"
    FAILURE = "a task that follows a failure"


#: The fields that a planned task may have.
_FIELDS = {
    Place.MEMBER: {"task_type", "payload", "queue", "on_failure"},
    Place.JOIN: {"task_type", "payload", "queue", "then", "on_failure"},
    Place.NEXT: {"task_type", "payload", "queue", "into"},
    Place.FAILURE: {"task_type", "payload", "queue", "into"},
}


class PlanError(ValueError):
    """A planned task that can't be: the field that is wrong, and why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def plan(value: object, place: Place, registry: Registry, topology: Topology, *, field: str) -> Planned:
    """Read a planned task, as `TaskRef.body` makes it.

    Args:
        field: its place in the call, for errors.

    Raises:
        PlanError: it can't be.
    """
    if not isinstance(value, Mapping):
        raise PlanError(field, "must be an object")
    other = next((name for name in value if name not in _FIELDS[place]), None)
    if other is not None:
        raise PlanError(f"{field}.{other}", f"{place.value} has no such field")
    handler = _handler(value.get("task_type"), registry, field=f"{field}.task_type")
    if place is not Place.NEXT:
        _check_counted(handler, field=f"{field}.task_type")
    for name in ("queue", "into"):
        if not isinstance(value.get(name), str | None):
            raise PlanError(f"{field}.{name}", "must be a string")
    queue = value.get("queue")
    if queue is not None and queue not in topology.by_name:
        raise PlanError(f"{field}.queue", f"there is no queue {queue!r} (queues: {', '.join(topology.by_name)})")
    into = value.get("into")
    if into is not None and into not in handler.payload_type.model_fields:
        fields = ", ".join(handler.payload_type.model_fields) or "none"
        raise PlanError(f"{field}.into", f"the payload of {handler.task_type} has no field {into!r} (fields: {fields})")
    chain, failure = follow_ups(value, registry, topology, field=f"{field}.")
    return Planned(
        task_type=handler.task_type,
        queue=queue or handler.queue_in(topology),
        payload=_payload(value.get("payload", {}), handler, place, into, field=f"{field}.payload"),
        into=into,
        then=chain or None,
        on_failure=failure,
    )


def follow_ups(
    value: Mapping[str, Any], registry: Registry, topology: Topology, *, field: str = ""
) -> tuple[tuple[Link, ...], Link | None]:
    """Read what follows a task: its `then` and its `on_failure`. Raises `PlanError`.

    Args:
        field: put before the names of fields, for errors.
    """
    chain = value.get("then")
    if chain is not None and not isinstance(chain, list):
        raise PlanError(f"{field}then", "must be an array: the tasks that follow, in order")
    if chain and len(chain) > MAX_CHAIN:
        raise PlanError(f"{field}then", f"a chain has {MAX_CHAIN} tasks behind the first at the most")
    links = [
        _link(plan(link, Place.NEXT, registry, topology, field=f"{field}then.{index}"))
        for index, link in enumerate(chain or ())
    ]
    failure = value.get("on_failure")
    following = None
    if failure is not None:
        following = _link(plan(failure, Place.FAILURE, registry, topology, field=f"{field}on_failure"))
    _check_size(links, following, topology.payloads.inline_bytes, field=field)
    return tuple(links), following


def _check_size(chain: Sequence[Link], failure: Link | None, most: int, *, field: str) -> None:
    """Raise `PlanError` where what follows does not fit into the message that carries it."""
    size = sum(len(link.model_dump_json().encode()) for link in (*chain, *(() if failure is None else (failure,))))
    if size > most:
        raise PlanError(
            f"{field}{'then' if chain else 'on_failure'}",
            f"what follows has {size:,} bytes as JSON, and may have {most:,} (payloads.inline_bytes in pipeline.toml), "
            "since it travels in the task's message: let each task hand on what the next needs",
        )


def _link(planned: Planned) -> Link:
    return Link(task_type=planned.task_type, queue=planned.queue, payload=planned.payload, into=planned.into)


def _handler(task_type: object, registry: Registry, *, field: str) -> Handler:
    if not isinstance(task_type, str) or not task_type:
        raise PlanError(field, "is required" if not task_type else "must be a string")
    handler = registry.get(task_type)
    if handler is None:
        raise PlanError(field, f"unknown task type {task_type[:100]!r} (known: {', '.join(registry) or 'none'})")
    return handler


def _check_counted(handler: Handler, *, field: str) -> None:
    """Raise `PlanError` for a type whose tasks may run twice, or not at all."""
    if not handler.record:
        raise PlanError(field, f"{handler.task_type} keeps no record (record=False), which tells that it has ended")
    if handler.unique is not None:
        raise PlanError(field, f"{handler.task_type} is unique: it may not be submitted where another has its key")


def _payload(value: object, handler: Handler, place: Place, into: str | None, *, field: str) -> dict[str, Any]:
    """The payload as JSON values; of a task that is handed more later, what is there of it."""
    if not isinstance(value, dict):
        raise PlanError(field, "must be an object")
    reserved = next((name for name in value if name in RESERVED_FIELDS), None)
    if reserved is not None:
        raise PlanError(f"{field}.{reserved}", "is set by the server: leave it out")
    try:
        handler.parse(value)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            where = tuple(str(part) for part in problem["loc"])
            later = problem["type"] == "missing" and (place is Place.NEXT if into is None else where[:1] == (into,))
            if not later:
                raise PlanError(".".join((field, *where)), problem["msg"]) from None
        return _json(value, field)
    return _json(value if place is Place.NEXT else handler.completed(value), field)


def _json(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    try:
        payload: dict[str, Any] = json_values.parse(json_values.encode(dict(value), what="the payload"))
    except InvalidValue as error:
        raise PlanError(field, str(error)) from None
    return payload
