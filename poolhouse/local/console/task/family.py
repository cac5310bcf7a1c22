"""What a task is related to: its parent, its group, the tasks and groups that it made; asked of the index alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poolhouse.client.answers import Document
from poolhouse.client.client import Client
from poolhouse.pipeline.tasks.task_ids import members_between

#: Children that are listed one by one, and groups; more are shown as counts.
MOST_CHILDREN, MOST_GROUPS = 50, 10


@dataclass(frozen=True, kw_only=True)
class Relative:
    """A task that is related to the one shown."""

    task_id: str
    task_type: str = ""
    #: None where the index does not have it: not submitted yet, or forgotten.
    status: str | None = None


@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """A group, its members counted by status."""

    group_id: str
    by_status: Mapping[str, int]
    #: How many members; None where that is not known here.
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """The relatives of a task."""

    parent: Relative | None
    #: The group that it belongs to.
    group: GroupCounts | None
    #: The groups that it made, and how many more there are.
    groups: Sequence[GroupCounts]
    more_groups: int
    #: Its other children; empty where they are more than `MOST_CHILDREN`.
    children: Sequence[Relative]
    #: The number of those children by status.
    by_status: Mapping[str, int]

    def __bool__(self) -> bool:
        return bool(self.parent or self.group or self.groups or self.children or self.by_status)


def of(api: Client, task: Document) -> Family:
    """Look up the relatives of a task, which has a record. Raises `ApiError`."""
    made = task.get("groups") or ()
    groups = [counts(api, group["group_id"], size=group.get("size")) for group in made[:MOST_GROUPS]]
    found = api.get("/tasks", parent_id=task["task_id"], page_size=str(MOST_CHILDREN), count="true")
    others = Counter(found["by_status"])
    for group in groups:
        others.subtract(group.by_status)
    members = [members_between(group.group_id) for group in groups]
    children = [
        _relative(child)
        for child in reversed(found["tasks"])
        if not any(first <= child["task_id"] < last for first, last in members)
    ]
    planned = [
        Relative(task_id=each["task_id"], task_type=each["task_type"])
        for each in task.get("follow_ups", ())
        if each["task_id"] not in {child["task_id"] for child in found["tasks"]}
    ]
    few = found["total"] <= MOST_CHILDREN and len(planned) <= MOST_CHILDREN
    return Family(
        parent=_look_up(api, task["parent_id"]) if task.get("parent_id") else None,
        group=counts(api, task["group_id"]) if task.get("group_id") else None,
        groups=groups,
        more_groups=len(made) - len(groups),
        children=[*children, *planned] if few else [],
        by_status={status: number for status, number in others.items() if number > 0},
    )


def counts(api: Client, group_id: str, *, size: int | None = None) -> GroupCounts:
    """Count a group's members that the index has."""
    found = api.get("/tasks", group_id=group_id, page_size="1", count="true")
    return GroupCounts(group_id=group_id, by_status=found["by_status"], size=size)


def _look_up(api: Client, task_id: str) -> Relative:
    found = api.get("/tasks", id_prefix=task_id, page_size="1")["tasks"]
    return _relative(found[0]) if found and found[0]["task_id"] == task_id else Relative(task_id=task_id)


def _relative(listed: Document) -> Relative:
    return Relative(task_id=listed["task_id"], task_type=listed["task_type"], status=listed["status"])
