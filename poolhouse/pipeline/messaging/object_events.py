"""Files that start tasks: Cloud Storage's notifications of new objects, as the tasks of pipeline.toml's triggers.

Cloud Storage publishes a message to a queue's topic for each object that is complete (Cloud Storage, Pub/Sub
notifications); locally fake-gcs-server does the same. Whichever worker gets the message makes the tasks of it. Their
ids derive from trigger, object and generation, so each version of a file starts a task once, however often it is
announced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from poolhouse.pipeline import names, numbers
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.config.triggers import Trigger
from poolhouse.pipeline.errors import MalformedMessage
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.links import Links
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.schedules import TaskType, payload_problem

#: The event of an object that is complete (Cloud Storage, Notification format).
FINALIZED = "OBJECT_FINALIZE"
#: Digits of the largest generation, a signed number of 64 bits.
_DIGITS = 19


def is_object_event(attributes: Mapping[str, str]) -> bool:
    """Whether a message is a notification of an object."""
    return "objectId" in attributes and "eventType" in attributes and "task_type" not in attributes


def tasks_of(
    attributes: Mapping[str, str], topology: Topology, *, bucket: str, task_ids: TaskIds
) -> tuple[TaskMessage, ...]:
    """The tasks that an event starts; none where no trigger takes the object.

    Args:
        attributes: those of the message.
        topology: pipeline.toml.
        bucket: the pipeline's own.
        task_ids: makes their ids.

    Raises:
        MalformedMessage: the event is of another bucket, or its generation is none.
    """
    if attributes.get("eventType") != FINALIZED:
        return ()
    if attributes.get("bucketId") != bucket:
        other = attributes.get("bucketId", "")[:100]
        raise MalformedMessage(f"malformed message: a notification of the bucket {other!r}, not of {bucket!r}")
    text = attributes.get("objectGeneration", "")
    generation = numbers.digits(text, most=_DIGITS)
    if generation is None:
        raise MalformedMessage(f"malformed message: {text[:100]!r} is no generation of an object")
    name = attributes["objectId"]
    return tuple(
        task_of(trigger, name, generation, topology=topology, bucket=bucket, task_ids=task_ids)
        for trigger in topology.triggers
        if trigger.takes(name)
    )


def task_of(
    trigger: Trigger, name: str, generation: int, *, topology: Topology, bucket: str, task_ids: TaskIds
) -> TaskMessage:
    """The task that a version of an object starts.

    Args:
        trigger: it takes the object.
        name: the object's.
        generation: which version of it.
        topology: pipeline.toml.
        bucket: the pipeline's own.
        task_ids: makes its id.

    Raises:
        MalformedMessage: the generation is of no time.
    """
    at = _made_at(generation)
    return TaskMessage(
        task_id=task_ids.derive(f"trigger {trigger.name} {bucket}/{name} {generation}", at),
        task_type=trigger.task_type,
        submitted_at=at,
        queue=topology.queue_of(trigger).name,
        payload={**trigger.payload, trigger.field: name.removeprefix(names.UPLOADS)},
        links=Links(trigger=trigger.name),
    )


def problem_of(trigger: Trigger, task_types: Mapping[str, TaskType]) -> str | None:
    """Why the tasks of a trigger can't run; None if they can."""
    return payload_problem(trigger.task_type, {**trigger.payload, trigger.field: f"file{trigger.suffix}"}, task_types)


def prefixes(topology: Topology) -> Mapping[str, tuple[str, ...]]:
    """By queue, the prefixes of the objects that its topic is notified of; none lies below another."""
    wanted: dict[str, set[str]] = {}
    for trigger in topology.triggers:
        wanted.setdefault(topology.queue_of(trigger).name, set()).add(trigger.prefix)
    return {queue: tuple(_outermost(found)) for queue, found in wanted.items()}


def _outermost(found: set[str]) -> Iterator[str]:
    for prefix in sorted(found):
        if not any(prefix != other and prefix.startswith(other) for other in found):
            yield prefix


def _made_at(generation: int) -> datetime:
    """When a version was made: a generation is a number of microseconds since 1970.

    Events and listings have other times too, but this is the one that all of them agree on.
    """
    try:
        return datetime.fromtimestamp(generation // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        raise MalformedMessage(f"malformed message: {generation} is no generation of an object") from None
