"""The results of a group's members, one after the other: memory does not grow with the group."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_json

from poolhouse.pipeline import json_values
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored
from poolhouse.pipeline.tasks.records import Status, TaskRecord
from poolhouse.pipeline.tasks.task_ids import TaskIds

R = TypeVar("R")

#: Records read ahead, and how many of them at the same time.
AHEAD, AT_A_TIME = 64, 16


@dataclass(frozen=True, kw_only=True)
class MemberResult(Generic[R]):
    """How a member of a group ended."""

    index: int
    task_id: str
    status: Status
    #: Why it has no result.
    reason: str | None
    _record: TaskRecord | None = field(repr=False)
    _store: ObjectStore = field(repr=False)
    _adapter: TypeAdapter[R] = field(repr=False)

    @property
    def succeeded(self) -> bool:
        """Whether it has a result."""
        return self.status is Status.SUCCEEDED

    @property
    def result(self) -> R:
        """What its handler returned; a large one is read now.

        Raises:
            ValueError: it has none; or it is not of the type that was asked for.
        """
        if self._record is None or not self.succeeded:
            raise ValueError(f"member {self.index} (task {self.task_id}) has no result: it is {self.status}")
        return json_values.decode(result_json(self._record, self._store), self._adapter)


def result_json(record: TaskRecord, store: ObjectStore) -> bytes:
    """The result of a task that has succeeded; a large one is read from its object."""
    if record.result is None and record.result_object is not None:
        return store.get(record.result_object.name)[0]
    return to_json(record.result)


def results(group: Group, store: ObjectStore, task_ids: TaskIds, adapter: TypeAdapter[R]) -> Iterator[MemberResult[R]]:
    """Yield how each member of a group ended, in the order of the members.

    Args:
        group: all of its members are added.
        adapter: reads a result.

    Raises:
        StoreUnavailable: storage does not answer.
    """
    records = RecordStore(store)
    ids = (task_ids.in_group(group.group_id, index) for index in range(group.size or 0))
    waiting: deque[tuple[str, Future[Stored | None]]] = deque()
    with ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="group-results") as threads:
        try:
            for index in range(group.size or 0):
                while len(waiting) < AHEAD and (task_id := next(ids, None)) is not None:
                    waiting.append((task_id, threads.submit(records.read, task_id)))
                task_id, read = waiting.popleft()
                stored = read.result()
                record = None if stored is None else stored.record
                yield MemberResult(
                    index=index,
                    task_id=task_id,
                    status=Status.QUEUED if record is None else record.status,
                    reason="its record has expired" if record is None else record.reason,
                    _record=record,
                    _store=store,
                    _adapter=adapter,
                )
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def anything() -> TypeAdapter[Any]:
    """What reads a result as the JSON value that it is."""
    return TypeAdapter(Any)
