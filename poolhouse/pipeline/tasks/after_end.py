"""What follows the end of a task: tasks, published once its final record is written and before its message is acked.

A *rule* makes them of the final record. It is asked again for every duplicate of the task's message, and wherever a
task ends without a worker (a cancel call, a dead letter by Pub/Sub's count), so it names the same ids each time:
`TaskIds.derive` makes them. Then the record of what follows lets it run once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from poolhouse.pipeline.messaging import trace
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord

#: What follows the end of a task by one rule. Its status is final; its type is empty where a cancel call came before
#: any worker had looked at the message, and the worker that gets the message asks again.
Rule = Callable[[TaskRecord], Iterable[FollowUp]]


def tasks_after(
    record: TaskRecord, rules: Iterable[Rule], *, attributes: Mapping[str, str] = MappingProxyType({})
) -> list[TaskMessage]:
    """All tasks that follow the end of a task: what its handler submitted, where it succeeded, and those of the rules.

    Args:
        record: its final record.
        rules: of this deployment.
        attributes: of the ended task's message, where it is at hand: what follows belongs to the same trace.
    """
    submitted = record.follow_ups if record.status is Status.SUCCEEDED else ()
    return [
        TaskMessage(
            task_id=each.task_id,
            task_type=each.task_type,
            submitted_at=record.updated_at,
            queue=each.queue,
            payload=each.payload,
            not_before=each.not_before,
            payload_object=each.payload_object,
            trace=trace.context(attributes),
        )
        for each in (*submitted, *(follow_up for rule in rules for follow_up in rule(record)))
    ]
