"""A pipeline on a whole stack of its own processes or containers: real time, real workers."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from poolhouse.client import loopback
from poolhouse.local.backend import Endpoints
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.groups.following import LinkedTasks
from poolhouse.pipeline.groups.group import Group
from poolhouse.pipeline.messaging.message import TaskMessage
from poolhouse.pipeline.store import GcsStore, ObjectInfo
from poolhouse.pipeline.tasks.record_store import RecordStore, Stored
from poolhouse.pipeline.tasks.records import FollowUp, Status, TaskRecord
from poolhouse.pipeline.tasks.task_id_key import load_task_ids
from poolhouse.pipeline.timing import clock
from poolhouse.testing import served_api, spans
from poolhouse.testing.calls import Calls
from poolhouse.testing.crash_points import Turn
from poolhouse.testing.faults import Faults, refuse
from poolhouse.testing.pipeline import Pipeline
from poolhouse.testing.spans import Span
from poolhouse.testing.surroundings import Submission, submission_of_task
from poolhouse.worker.registry import Handler, Registry

#: Longest time that `run_until_idle` waits, in seconds: on this level waits are real.
LONGEST_WAIT_S = 120.0
_POLL_S = 0.02


class StackPipeline(Pipeline):
    """The pipeline of the levels `embedded` and `containers`. Tests share the stack: a test sees its own tasks alone.

    What is not in this process can't be told to fail or to move its clock: such words skip the test.
    """

    def __init__(self, settings: Settings, *, registry: Registry, endpoints: Endpoints, level: str) -> None:
        self._endpoints = endpoints
        self._level = level
        self._session = loopback.session()
        self._records_seen: dict[str, Submission] = {}
        store = GcsStore(settings.bucket_name, project=settings.google_cloud_project)
        self._records = RecordStore(store)
        calls = Calls(now=clock.now)
        self._calls = calls
        self.faults = Faults(calls, duplicate=self._cannot("duplicate messages"))
        for word in ("on", "wrap"):
            setattr(self.faults, word, self._cannot("let calls fail"))
        self.clock = _RealClock(self._cannot("move the clock"))
        super().__init__(settings, registry=registry, store=store, task_ids=load_task_ids(store))
        self._linked = LinkedTasks(store, lambda: self.task_ids)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _submit(self, handler: Handler, payload: dict[str, Any], *, queue: str, not_before: datetime | None) -> str:
        body: dict[str, Any] = {"task_type": handler.task_type, "payload": payload, "queue": queue}
        if not_before is not None:
            body["run_at"] = not_before.isoformat()
        task_id = served_api.submit(self._session, self.api_url, body)
        self._records_seen[task_id] = Submission(
            task_id=task_id, task_type=handler.task_type, queue=queue, payload=payload
        )
        self._calls.tell(f"submitted: {handler.task_type} {task_id} to {queue}")
        return task_id

    def _upload(self, name: str, data: bytes, content_type: str) -> ObjectInfo:
        return self.store.upload(name, io.BytesIO(data), content_type=content_type)

    def _uploaded(self, event: Mapping[str, str], tasks: Sequence[TaskMessage]) -> None:
        for task in tasks:  # storage itself tells of the file
            self._records_seen[task.task_id] = submission_of_task(task)

    def run_until_idle(self, limit: Span = "1 day") -> None:
        end_s = time.monotonic() + min(LONGEST_WAIT_S, spans.seconds(limit))
        while True:
            known = self.submitted
            open_tasks = [each for each in known if not self._rests(each)]
            if not open_tasks and self.submitted == known:  # one that ended since the first look may have followers
                return
            assert time.monotonic() < end_s, (
                f"{len(open_tasks)} tasks have not ended in {LONGEST_WAIT_S:g} s; the timeline:\n{self.timeline()}"
            )
            time.sleep(_POLL_S)

    def kill_worker(self, at: str) -> AbstractContextManager[None]:
        return self._cannot("kill a worker at a step")()  # type: ignore[no-any-return]  # it skips the test

    def crash_points(self, *, results: bool = True) -> Iterator[Turn]:
        return self._cannot("go through crash points")()  # type: ignore[no-any-return]  # as above

    @property
    def api_url(self) -> str:
        return self._endpoints.api_url

    def timeline(self) -> str:
        lines = [f"{at:%H:%M:%S}  {text}" for at, text in self._calls.timeline]
        for each in self._records_seen.values():
            stored = self._read(each.task_id)
            lines.append(f"task {each.task_id} ({each.task_type}): {stored.record.status if stored else 'no record'}")
            for attempt in stored.record.attempts if stored else ():
                error = f": {attempt.error.type}: {attempt.error.message}" if attempt.error else ""
                lines.append(
                    f"  {attempt.started_at:%H:%M:%S} attempt {attempt.number} by {attempt.worker} "
                    f"{attempt.outcome}{error}"
                )
        return "\n".join(lines) or "nothing has happened"

    @property
    def submitted(self) -> tuple[Submission, ...]:
        for task_id in tuple(self._records_seen):
            self._add_follow_ups(task_id)
        return tuple(self._records_seen.values())

    def _add_follow_ups(self, task_id: str) -> None:
        stored = self._read(task_id)
        if stored is None:
            return
        record = stored.record
        # What follows its end has the same ids whoever asks, and may not have been published yet.
        following = [*record.follow_ups, *(self._linked(record) if record.status.final else ())]
        found = [_submission(each) for each in following]
        for group in record.groups or ():
            found += [each for index in range(group.size or 0) if (each := self._member(group, index)) is not None]
        for each in found:
            if each.task_id not in self._records_seen:
                self._records_seen[each.task_id] = each
                self._add_follow_ups(each.task_id)

    def _member(self, group: Group, index: int) -> Submission | None:
        """A member of a group; None until a worker has met it."""
        stored = self._read(self.task_ids.in_group(group.group_id, index))
        return None if stored is None else _submission(stored.record)

    def _read(self, task_id: str) -> Stored | None:
        return self._records.read(task_id)

    def _rests(self, submission: Submission) -> bool:
        """Whether nothing happens to a task now; one without records can't be seen, and is not waited for."""
        handler = self.registry.get(submission.task_type)
        if handler is None or not handler.record:
            return True
        stored = self._read(submission.task_id)
        if stored is None:
            return False
        record = stored.record
        if record.status in {Status.FAILED, Status.DEAD} and record.discarded_at is None:
            return any(letter.task_id == record.task_id for letter in self._letters())
        waits = record.not_before is not None and record.not_before > datetime.now(UTC)
        return waits or (record.status.final and all(map(self._all_met, record.groups or ())))

    def _all_met(self, group: Group) -> bool:
        """Whether a worker has met every member of a group, so that each is waited for."""
        ids = (self.task_ids.in_group(group.group_id, index) for index in range(group.size or 0))
        return all(task_id in self._records_seen for task_id in ids)

    def _cannot(self, what: str) -> Any:
        return refuse(f"can't {what} on the level {self._level}: use --backend inline or in-process")


def _submission(of: FollowUp | TaskRecord) -> Submission:
    return Submission(task_id=of.task_id, task_type=of.task_type, queue=of.queue, payload=of.payload)


class _RealClock:
    """The machine's clock."""

    def __init__(self, advance: Any) -> None:
        self.advance = advance

    def now(self) -> datetime:
        return datetime.now(UTC)
