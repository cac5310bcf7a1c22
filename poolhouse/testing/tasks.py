"""A task as a test sees it."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json

from poolhouse.pipeline.groups.results import result_json
from poolhouse.pipeline.json_values import adapter, decode
from poolhouse.pipeline.store import ObjectStore
from poolhouse.pipeline.tasks.record_store import RecordStore
from poolhouse.pipeline.tasks.records import Attempt, Status, TaskRecord
from poolhouse.worker.registry import Handler, Registry

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True)
class Task(Generic[R_co]):
    """A task that was submitted; what it tells is read from its record each time."""

    task_id: str
    task_type: str
    _store: ObjectStore = field(repr=False, compare=False)
    #: What the result is read as; None: as JSON.
    _returns: Any = field(default=None, repr=False, compare=False)

    @property
    def record(self) -> TaskRecord:
        """Its record. Raises `AssertionError` where there is none yet, or its type keeps none."""
        stored = RecordStore(self._store).read(self.task_id)
        assert stored is not None, (
            f"task {self.task_id} ({self.task_type}) has no record: no worker has begun it (run_until_idle, "
            "clock.advance), or its type keeps none (record=False)"
        )
        return stored.record

    @property
    def status(self) -> Status:
        """Where it is; `queued` while no worker has begun it."""
        stored = RecordStore(self._store).read(self.task_id)
        return Status.QUEUED if stored is None else stored.record.status

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Its attempts so far, the newest last."""
        stored = RecordStore(self._store).read(self.task_id)
        return () if stored is None else stored.record.attempts

    def result(self) -> R_co:
        """What the handler returned, after its way as JSON, in the type that the handler says.

        Raises:
            AssertionError: it has not succeeded; the text says why.
        """
        record = self.record
        assert record.status is Status.SUCCEEDED, f"task {self.task_id} ({self.task_type}) is {_state(record)}"
        data = result_json(record, self._store)
        return typing.cast(R_co, from_json(data) if self._returns is None else decode(data, _adapter(self._returns)))


def handler_of(task: str | Handler | Callable[..., Any] | Any, registry: Registry) -> Handler:
    """The handler that a test names: by its task type, or by what `@task` made of the function.

    Raises:
        LookupError: the pipeline has no such handler.
    """
    name = task if isinstance(task, str) else getattr(task, "task_type", None)
    if isinstance(name, str):
        found = [registry[name]] if name in registry else []
    else:
        found = [handler for handler in registry.values() if handler.function is task]
    if len(found) == 1:
        return found[0]
    what = repr(task) if isinstance(task, str) else getattr(task, "__qualname__", repr(task))
    if found:
        raise LookupError(f"{what} is the handler of {', '.join(each.task_type for each in found)}: give one by name")
    raise LookupError(
        f"the pipeline under test has no handler {what} (it has: {', '.join(registry) or 'none'}); "
        "override the fixture pipeline_handlers to name the modules that have it"
    )


def returns_of(handler: Handler) -> Any:
    """The return annotation of a handler; None where it says none, or nothing more than JSON."""
    returned = typing.get_type_hints(handler.function).get("return")
    return None if returned in {Any, type(None)} else returned


def _state(record: TaskRecord) -> str:
    attempt = record.attempts[-1] if record.attempts else None
    why = record.reason or (attempt and attempt.error and f"{attempt.error.type}: {attempt.error.message}")
    return f"{record.status}" + (f": {why}" if why else "")


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(returns: Any) -> TypeAdapter[Any]:
    try:
        return _adapters.setdefault(returns, _adapters.get(returns) or adapter(returns))
    except TypeError:  # an annotation that can't be hashed
        return adapter(returns)
