"""Hooks that note where and in which order they are called, in the file HOOK_LOG: processes have it in common."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from poolhouse import AttemptEnd, AttemptInfo, Hook, TaskInfo
from poolhouse.pipeline.tasks import current_task


def note(line: str) -> None:
    with open(os.environ["HOOK_LOG"], "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def where() -> str:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    place = "loop" if loop is not None else "thread"
    return f"{os.getpid()} {place} {threading.current_thread().name}"


class Noting(Hook):
    """Notes every call under its name."""

    name = "first"

    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        note(f"{self.name} on_submit {task.task_type}")

    def before(self, attempt: AttemptInfo) -> None:
        note(f"{self.name} before {attempt.number} {where()}")

    @contextmanager
    def around(self, attempt: AttemptInfo) -> Iterator[None]:
        assert current_task.context().task_id == attempt.task.task_id
        note(f"{self.name} enter {attempt.task.payload} {where()}")
        try:
            yield
        except BaseException as error:
            note(f"{self.name} raised {type(error).__name__}")
            raise
        finally:
            note(f"{self.name} leave {where()}")

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        note(f"{self.name} after {end.outcome}")

    def on_retry(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        note(f"{self.name} on_retry {end.error.message if end.error else None}")

    def on_death(self, task: TaskInfo, reason: str) -> None:
        note(f"{self.name} on_death {reason}")

    def on_cancel(self, task: TaskInfo) -> None:
        note(f"{self.name} on_cancel {task.task_type}")

    def close(self) -> None:
        note(f"{self.name} close")


class Second(Noting):
    name = "second"


class Async(Hook):
    """The same, with coroutines."""

    async def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        await asyncio.sleep(0)
        note(f"async on_submit {task.task_type}")

    async def before(self, attempt: AttemptInfo) -> None:
        await asyncio.sleep(0)
        note(f"async before {where()}")

    @asynccontextmanager
    async def around(self, attempt: AttemptInfo) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        note(f"async enter {where()}")
        yield
        note(f"async leave {where()}")

    async def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        note(f"async after {end.outcome}")


class Broken(Hook):
    """Raises wherever it can, swallows what handlers raise, and changes what it is given."""

    def on_submit(self, task: TaskInfo, trace: dict[str, str]) -> None:
        trace["traceparent"] = "no such thing"
        raise RuntimeError("on_submit")

    def before(self, attempt: AttemptInfo) -> None:
        dict(attempt.task.payload).clear()
        raise SystemExit("before")

    @contextmanager
    def around(self, attempt: AttemptInfo) -> Iterator[None]:
        with suppress(BaseException):
            yield

    def after(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        raise KeyboardInterrupt

    def on_retry(self, attempt: AttemptInfo, end: AttemptEnd) -> None:
        raise ValueError("on_retry")

    def on_death(self, task: TaskInfo, reason: str) -> None:
        raise ValueError("on_death")


class BrokenAtTheDoor(Hook):
    """Its context managers fail on the way in, and on the way out."""

    def around(self, attempt: AttemptInfo) -> _Door:
        return _Door(fails_in=attempt.number % 2 == 1)


class _Door:
    def __init__(self, *, fails_in: bool) -> None:
        self._fails_in = fails_in

    def __enter__(self) -> None:
        if self._fails_in:
            raise asyncio.CancelledError

    def __exit__(self, *told: object) -> bool:
        raise GeneratorExit
