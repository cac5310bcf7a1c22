"""The bucket and the queues as the parts of a pipeline under test see them: every call passes `Calls`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from poolhouse.pipeline import names
from poolhouse.pipeline.messaging.message import LINKS, TaskMessage
from poolhouse.pipeline.messaging.pubsub_transport import Message, Topics
from poolhouse.pipeline.store import ObjectInfo, ObjectPage, ObjectStore
from poolhouse.pipeline.tasks.records import Status
from poolhouse.pipeline.timing.timers import Timer
from poolhouse.testing.calls import Calls, WorkerLife

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A task that was given to a queue, or to the bucket until its time."""

    task_id: str
    task_type: str
    queue: str
    payload: Mapping[str, Any]


class SeenStore:
    """`ObjectStore` on another one: its calls may fail, and its callers may die."""

    def __init__(
        self,
        store: ObjectStore,
        calls: Calls,
        *,
        worker: WorkerLife | None,
        on_timer: Callable[[str, bytes], None],
        on_control: Callable[[bytes], None],
    ) -> None:
        """Begin without a fault.

        Args:
            on_timer: called with the name and the content of each timer that is written.
            on_control: called with what is decided about the queues, each time that changes.
        """
        self._store = store
        self._calls = calls
        self._worker = worker
        self._on_timer = on_timer
        self._on_control = on_control

    def get(self, name: str) -> tuple[bytes, ObjectInfo]:
        return self._act("storage.read", name, lambda: self._store.get(name))

    def stat(self, name: str) -> ObjectInfo:
        return self._act("storage.read", name, lambda: self._store.stat(name))

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        def write() -> int:
            generation = self._store.put(
                name, data, content_type=content_type, metadata=metadata, if_generation=if_generation
            )
            if name.startswith(names.TIMERS):
                self._on_timer(name, data)
            if name == names.QUEUE_CONTROL:
                self._on_control(data)
            if name.startswith(names.TASKS):
                self._calls.tell(f"record {name}: {(metadata or {}).get('status', '')}")
            return generation

        return self._act("storage.write", name, write, step=self._step(name, metadata))

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        self._act("storage.delete", name, lambda: self._store.delete(name, if_generation=if_generation))

    def list(
        self,
        prefix: str,
        *,
        page_size: int = 1000,
        page_token: str | None = None,
        start: str | None = None,
        timeout_s: float | None = None,
    ) -> ObjectPage:
        return self._act(
            "storage.list",
            prefix,
            lambda: self._store.list(
                prefix, page_size=page_size, page_token=page_token, start=start, timeout_s=timeout_s
            ),
        )

    def folders(self, prefix: str, *, most: int, start: str | None = None) -> Sequence[str]:
        return self._act("storage.list", prefix, lambda: self._store.folders(prefix, most=most, start=start))

    def open_read(self, name: str, *, generation: int | None = None) -> IO[bytes]:
        return self._act("storage.read", name, lambda: self._store.open_read(name, generation=generation))

    def upload(self, name: str, source: IO[bytes], *, content_type: str, size_bytes: int | None = None) -> ObjectInfo:
        return self._act(
            "storage.write",
            name,
            lambda: self._store.upload(name, source, content_type=content_type, size_bytes=size_bytes),
            step=self._step(name, None),
        )

    def upload_session(self, name: str, *, content_type: str, size_bytes: int | None, origin: str | None) -> str:
        return self._act(
            "storage.write",
            name,
            lambda: self._store.upload_session(name, content_type=content_type, size_bytes=size_bytes, origin=origin),
        )

    def check(self) -> None:
        self._store.check()

    def _act(self, operation: str, name: str, call: Callable[[], _T], *, step: str | None = None) -> _T:
        return self._calls.act(operation, call, target=name, by=self._worker, step=step)

    def _step(self, name: str, metadata: Mapping[str, str] | None) -> str | None:
        """The step of the worker's protocol that a write is; what a handler writes is none."""
        if self._worker is None or self._worker.in_handler:
            return None
        if name.startswith(names.TASKS):
            return "claim" if (metadata or {}).get("status") == Status.RUNNING else "record"
        if name.startswith(names.RESULTS):
            return "result"
        return "follow-ups" if name.startswith((names.TIMERS, names.GROUPS)) else None


class SeenTopics:
    """`Topics` on others: a publish may fail, and its caller may die."""

    def __init__(
        self, topics: Topics, calls: Calls, *, worker: WorkerLife | None, on_message: Callable[[str, Message], None]
    ) -> None:
        """Args: on_message: called with the topic and each message that is published."""
        self._topics = topics
        self._calls = calls
        self._worker = worker
        self._on_message = on_message

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        def send() -> Sequence[str]:
            ids = self._topics.publish(topic, messages, timeout_s=timeout_s).result(timeout_s + 1)
            for message in messages:
                self._on_message(topic, message)
            return ids

        answer: Future[Sequence[str]] = Future()
        step = "dead-letter" if topic.endswith("-dead-letters") else "follow-ups"
        try:
            answer.set_result(self._calls.act("queue.publish", send, target=topic, by=self._worker, step=step))
        except Exception as error:  # noqa: BLE001 - the future carries whatever it was
            answer.set_exception(error)
        return answer

    def check(self, topic: str, *, timeout_s: float) -> None:
        self._topics.check(topic, timeout_s=timeout_s)

    def close(self) -> None:
        self._topics.close()


def submission_of(queue: str, data: bytes) -> Submission | None:
    """The task that a message's body is; None where it is none."""
    try:
        body = json.loads(data)
        task_id, task_type = body.pop("task_id"), body.pop("task_type")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    body.pop("submitted_at", None)
    body.pop(LINKS, None)
    return Submission(task_id=task_id, task_type=task_type, queue=queue, payload=body)


def submission_of_task(task: TaskMessage) -> Submission:
    """A task, as one that was submitted."""
    return Submission(task_id=task.task_id, task_type=task.task_type, queue=task.queue, payload=task.payload)


def submission_of_timer(data: bytes) -> Submission | None:
    """The task that a timer will submit."""
    timer = Timer.model_validate_json(data)
    return submission_of(timer.queue, base64.b64decode(timer.data_base64))
