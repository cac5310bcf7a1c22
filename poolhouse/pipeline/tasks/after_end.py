"""What follows the end of a task: tasks, published once its final record is written and before its message is acked.

A *rule* makes them of the final record. It is asked again for every duplicate of the task's message, and wherever a
task ends without a worker (a cancel call, a dead letter by Pub/Sub's count), so it names the same ids each time:
`TaskIds.derive` makes them. Then the record of what follows lets it run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord

#: What follows the end of a task by one rule. Its status is final; its type is empty where a cancel call came before
#: any worker had looked at the message, and the worker that gets the message asks again.
Rule = Callable[[TaskRecord], Iterable[FollowUp]]


def tasks_after(
    record: TaskRecord,
    rules: Iterable[Rule],
    *,
    inline_bytes: int,
    attributes: Mapping[str, str] = MappingProxyType({}),
) -> list[TaskMessage]:
    """All tasks that follow the end of a task: what its handler submitted, where it succeeded, and those of the rules.

    Args:
        record: its final record.
        rules: of this deployment.
        inline_bytes: payloads that rules make travel by reference above this size.
        attributes: of the ended task's message, where it is at hand: what follows belongs to the same trace.
    """
    submitted = record.follow_ups if record.status is Status.SUCCEEDED else ()
    ruled = (follow_up for rule in rules for follow_up in rule(record))
    return [
        *(message_of(each, submitted_at=record.updated_at, attributes=attributes) for each in submitted),
        *(
            message_of(each, submitted_at=record.updated_at, attributes=attributes).by_reference(
                above_bytes=inline_bytes
            )
            for each in ruled
        ),
    ]


def message_of(
    follow_up: FollowUp, *, submitted_at: datetime, attributes: Mapping[str, str] = MappingProxyType({})
) -> TaskMessage:
    """The message of a task that follows another."""
    return TaskMessage(
        task_id=follow_up.task_id,
        task_type=follow_up.task_type,
        submitted_at=submitted_at,
        queue=follow_up.queue,
        payload=follow_up.payload,
        not_before=follow_up.not_before,
        links=follow_up.links,
        payload_object=follow_up.payload_object,
        trace=trace.context(attributes),
    )
