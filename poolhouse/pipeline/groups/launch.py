"""Starting the groups that a handler made, once its task has succeeded."""

from __future__ import annotations

from datetime import datetime

from poolhouse.pipeline.groups import members
from poolhouse.pipeline.groups.following import LinkedTasks
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.after_end import message_of
from poolhouse.pipeline.tasks.task_ids import TaskIds


def launch(group: Group, store: ObjectStore, *, submitted_at: datetime, send: members.Send, task_ids: TaskIds) -> None:
    """Keep a group and publish its members; where that was begun before, what is left of them.

    Args:
        submitted_at: when the task ended that made it; the same each time.

    Raises:
        ServiceUnavailable: the queue or the bucket is down; call it again.
    """
    kept = GroupStore(store).create(group)
    members.publish_chunks(kept, store, submitted_at=submitted_at, send=send, task_ids=task_ids)
    if kept.size == 0:
        for follow_up in LinkedTasks(store, lambda: task_ids).of_closed(kept):
            send(message_of(follow_up, submitted_at=submitted_at)).result()
