"""Starting the groups that a handler made, once its task has succeeded."""

from __future__ import annotations

from poolhouse.pipeline.groups import members
from poolhouse.pipeline.groups.following import LinkedTasks
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.groups.group_store import GroupStore
from poolhouse.pipeline.messaging.publisher import Publisher
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.after_end import message_of
from poolhouse.pipeline.tasks.task_ids import TaskIds


def launch(group: Group, store: ObjectStore, publisher: Publisher, task_ids: TaskIds) -> None:
    """Keep a group and publish its members; where that was begun before, what is left of them.

    Raises:
        ServiceUnavailable: the queue or the bucket is down; call it again.
    """
    kept = GroupStore(store).create(group)
    members.publish_chunks(kept, store, publisher, task_ids)
    if kept.size == 0:
        for follow_up in LinkedTasks(store, lambda: task_ids).of_closed(kept):
            publisher.submit(message_of(follow_up, submitted_at=kept.created_at)).result()
