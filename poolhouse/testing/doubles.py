"""Stand-ins for the bucket, the queues, the clock and a task's context, in memory."""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import structlog
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import TaskType, name_of
from poolhouse.pipeline import json_values
from poolhouse.pipeline.errors import ObjectNotFound, PreconditionFailed, QueueUnavailable
from poolhouse.pipeline.groups.group import WaitFor
from poolhouse.pipeline.groups.results import MemberResult
from poolhouse.pipeline.messaging.pubsub_transport import Message
from poolhouse.pipeline.pieces import PIECE_BYTES
from poolhouse.pipeline.store import ABSENT, ObjectInfo, ObjectPage, ObjectStore, printable
from poolhouse.pipeline.tasks.records import Step
from poolhouse.pipeline.timing import clock
from poolhouse.worker.errors import TaskCancelled
from poolhouse.worker.steps import Steps, cursor_value, refuse_inside


class MemoryStore:
    """`ObjectStore` in a dict, with Cloud Storage's rules for generations."""

    def __init__(self, *, now: Callable[[], datetime] = clock.now, generation: int = 1000) -> None:
        """Begin empty. Args: generation: of the next object, less one."""
        self._now = now
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._generation = generation
        self._lock = threading.Lock()
        #: Names of the objects written, in order.
        self.writes: list[str] = []
        #: Raised by every call while it is set.
        self.failure: Exception | None = None
        #: Calls of every kind so far.
        self.calls = 0
        #: Listings among them.
        self.lists = 0
        #: Upload sessions opened so far.
        self.sessions: list[dict[str, Any]] = []
        #: Called before each write with the object's name: what another does in between, in tests of races.
        self.before_write: Callable[[str], None] = lambda name: None
        #: Called after each write that took effect; what it raises is all that the writer gets for an answer.
        self.after_write: Callable[[str], None] = lambda name: None

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """The names of the objects there are; counts as no call."""
        return tuple(sorted(name for name in self._objects if name.startswith(prefix)))

    def get(self, name: str) -> tuple[bytes, ObjectInfo]:
        self.check()
        try:
            return self._objects[name]
        except KeyError:
            raise ObjectNotFound(f"there is no object {name}") from None

    def stat(self, name: str) -> ObjectInfo:
        return self.get(name)[1]

    def put(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str = "application/json",
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> int:
        self.check()
        self.before_write(name)
        with self._lock:
            present = self._objects.get(name)
            current = present[1].generation if present else ABSENT
            if if_generation is not None and if_generation != current:
                raise PreconditionFailed(f"{name}: another process wrote it first")
            self._generation += 1
            info = ObjectInfo(
                name=name,
                generation=self._generation,
                size_bytes=len(data),
                content_type=content_type,
                updated_at=self._now(),
                metadata=printable(metadata),
            )
            self._objects[name] = (data, info)
            self.writes.append(name)
        self.after_write(name)
        return info.generation

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        self.check()
        with self._lock:
            present = self._objects.get(name)
            if present and if_generation is not None and if_generation != present[1].generation:
                raise PreconditionFailed(f"{name}: another process wrote it first")
            self._objects.pop(name, None)

    def list(
        self,
        prefix: str,
        *,
        page_size: int = 1000,
        page_token: str | None = None,
        start: str | None = None,
        timeout_s: float | None = None,
    ) -> ObjectPage:
        self.check()
        self.lists += 1
        names = sorted(
            name
            for name in self._objects
            if name.startswith(prefix) and name > (page_token or "") and name >= (start or "")
        )
        page = names[:page_size]
        token = page[-1] if len(names) > page_size else None
        return ObjectPage(tuple(self._objects[name][1] for name in page), token)

    def folders(self, prefix: str, *, most: int, start: str | None = None) -> Sequence[str]:
        self.check()
        self.lists += 1
        below = (name.removeprefix(prefix).partition("/") for name in self._objects if name.startswith(prefix))
        found = {f"{prefix}{first}/" for first, slash, _ in below if slash}
        return sorted(name for name in found if name >= (start or ""))[:most]

    def open_read(self, name: str, *, generation: int | None = None) -> IO[bytes]:
        data, info = self.get(name)
        if generation not in {None, info.generation}:
            raise ObjectNotFound(f"there is no object {name} of that generation")
        return io.BytesIO(data)

    def upload(self, name: str, source: IO[bytes], *, content_type: str, size_bytes: int | None = None) -> ObjectInfo:
        pieces = []
        while piece := source.read(1024 * 1024):
            pieces.append(piece)
        data = b"".join(pieces)
        assert size_bytes in {None, len(data)}
        self.put(name, data, content_type=content_type)
        return self.stat(name)

    def upload_session(self, name: str, *, content_type: str, size_bytes: int | None, origin: str | None) -> str:
        self.check()
        self.sessions.append({"name": name, "content_type": content_type, "size_bytes": size_bytes, "origin": origin})
        return f"memory://{name}"

    def check(self) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure


class ManualClock:
    """A clock that goes only when told to."""

    def __init__(self, start: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


class MemoryLedger:
    """`Ledger` in memory: the steps of a task, by name."""

    def __init__(self, results: Mapping[str, Any], *, now: Callable[[], datetime]) -> None:
        self._now = now
        self.steps: dict[str, Step] = {}
        for name, result in results.items():
            self.record(name, json_values.encode(result, what=f"the result of step {name!r}"), started_at=now())

    def find(self, name: str) -> Step | None:
        return self.steps.get(name)

    def load(self, step: Step) -> bytes:
        return to_json(step.result)

    def record(self, name: str, result: bytes, *, started_at: datetime) -> None:
        self.steps[name] = Step(
            name=name,
            attempt=1,
            started_at=started_at,
            ended_at=self._now(),
            result=from_json(result),
            size_bytes=len(result),
        )


class FakeContext:
    """`TaskContext` of one attempt; `cancel_after` checkpoints it is told to stop.

    `steps` are results of steps that an earlier attempt has recorded, by name, and `cursor` is where it was. What this
    one has then done is in `results`.
    """

    def __init__(
        self,
        store: ObjectStore | None = None,
        *,
        task_id: str = "task-1",
        task_type: str = "test",
        cancel_after: int | None = None,
        attempt: int = 1,
        clock: Callable[[], datetime] | None = None,
        steps: Mapping[str, Any] | None = None,
        cursor: Any = None,
    ) -> None:
        self.store: ObjectStore = store if store is not None else MemoryStore()
        self.task_id = task_id
        self.task_type = task_type
        self.queue = "default"
        self.attempt = attempt
        self._clock = clock or ManualClock()
        self.submitted_at = datetime(2026, 11, 1, tzinfo=UTC)
        self.log = structlog.get_logger()
        self.progress_calls: list[tuple[float, float | None, str | None]] = []
        self.checkpoints = 0
        self.submitted: list[tuple[str, BaseModel | Mapping[str, Any]]] = []
        #: The groups that were submitted.
        self.groups: list[FakeGroup] = []
        #: What `group_results` yields.
        self.member_results: list[MemberResult[Any]] = []
        self._cancel_after = cancel_after
        self._cursor = cursor_value(cursor)
        self._ledger = MemoryLedger(steps or {}, now=self._clock)
        self._steps = Steps(self._ledger, checkpoint=self.checkpoint, now=self._clock)

    @property
    def results(self) -> dict[str, Any]:
        """The results of all steps that have ended, by name."""
        return {name: step.result for name, step in self._ledger.steps.items()}

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
        return self._steps.run(name, function, args, named)

    @property
    def cursor(self) -> Any:
        return copy.deepcopy(self._cursor)

    @cursor.setter
    def cursor(self, value: Any) -> None:
        self._cursor = cursor_value(value)

    def now(self) -> datetime:
        return self._clock()

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        self.progress_calls.append((done, total, note))

    def checkpoint(self) -> None:
        self.checkpoints += 1
        if self._cancel_after is not None and self.checkpoints > self._cancel_after:
            raise TaskCancelled("cancelled by the test")

    def submit(
        self,
        task_type: str | TaskType[Any, Any] | TaskRef[Any],
        payload: BaseModel | Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        delay_s: float | None = None,
        run_at: datetime | None = None,
    ) -> str:
        refuse_inside("ctx.submit")
        if isinstance(task_type, TaskRef):
            self.submitted.append((task_type.of.task_type, task_type.payload))
        else:
            self.submitted.append((name_of(task_type), {} if payload is None else payload))
        return f"follow-up-{len(self.submitted)}"

    def group(
        self,
        members: Iterable[TaskRef[Any]],
        *,
        then: TaskRef[Any] | None = None,
        on_failure: TaskRef[Any] | None = None,
        wait_for: WaitFor = "succeeded",
    ) -> str:
        refuse_inside("ctx.group")
        self.groups.append(FakeGroup(tuple(members), then, on_failure, wait_for))
        return f"group-{len(self.groups)}"

    def group_results(self, task_type: TaskType[Any, Any] | None = None) -> Iterator[MemberResult[Any]]:
        return iter(self.member_results)


@dataclass(frozen=True)
class FakeGroup:
    """A group that a `FakeContext` was given."""

    members: tuple[TaskRef[Any], ...]
    then: TaskRef[Any] | None
    on_failure: TaskRef[Any] | None
    wait_for: WaitFor


class DirectoryStore(MemoryStore):
    """A `MemoryStore` whose streamed objects are files below `root`: for objects larger than memory should hold."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def stat(self, name: str) -> ObjectInfo:
        path = self._root / name
        if not path.is_file():
            return super().stat(name)
        return ObjectInfo(name=name, generation=1, size_bytes=path.stat().st_size)

    def open_read(self, name: str, *, generation: int | None = None) -> IO[bytes]:
        path = self._root / name
        return path.open("rb") if path.is_file() else super().open_read(name, generation=generation)

    def upload(self, name: str, source: IO[bytes], *, content_type: str, size_bytes: int | None = None) -> ObjectInfo:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            while piece := source.read(PIECE_BYTES):
                target.write(piece)
        self.writes.append(name)
        return self.stat(name)


@dataclass(frozen=True)
class Published:
    """A message that a `MemoryTopics` has."""

    topic: str
    message: Message
    message_id: str


@dataclass
class MemoryTopics:
    """`Topics` in memory. `down` makes every publish fail; `hold` keeps answers back until `release`."""

    down: bool = False
    hold: bool = False
    published: list[Published] = field(default_factory=list)
    #: Messages of each request.
    requests: list[int] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._held: list[tuple[Future[Sequence[str]], str, Sequence[Message]]] = []

    def publish(self, topic: str, messages: Sequence[Message], *, timeout_s: float) -> Future[Sequence[str]]:
        answer: Future[Sequence[str]] = Future()
        with self._lock:
            self.requests.append(len(messages))
            if self.hold:
                self._held.append((answer, topic, messages))
                return answer
        self._answer(answer, topic, messages)
        return answer

    def release(self) -> None:
        """Answer all that was held, and what comes of it."""
        self.hold = False
        while True:
            with self._lock:
                if not self._held:
                    return
                answer, topic, messages = self._held.pop(0)
            self._answer(answer, topic, messages)

    def check(self, topic: str, *, timeout_s: float) -> None:
        if self.down:
            raise QueueUnavailable(f"topic {topic}: it is down")

    def close(self) -> None:
        self.closed = True

    def _answer(self, answer: Future[Sequence[str]], topic: str, messages: Sequence[Message]) -> None:
        if self.down:
            answer.set_exception(QueueUnavailable(f"the queue did not take the message ({topic}): it is down"))
            return
        with self._lock:
            first = len(self.published) + 1
            ids = [str(first + index) for index in range(len(messages))]
            self.published += [Published(topic, *pair) for pair in zip(messages, ids, strict=True)]
        answer.set_result(ids)
