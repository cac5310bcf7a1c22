"""Handlers by task type: the `@task` decorator and what it knows of a handler."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from poolhouse.pipeline.errors import ConfigError, InvalidName
from poolhouse.pipeline.message import RESERVED_FIELDS
from poolhouse.pipeline.names import check_task_type

_HANDLER = "__poolhouse_handler__"
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Payload(BaseModel):
    """Base of payload models: unknown fields are refused, so that a client's typing error is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A task type: its function, payload model and limits."""

    task_type: str
    function: Callable[..., Any]
    payload_type: type[BaseModel]
    #: Queue of tasks that name none; None: the pipeline's default queue.
    queue: str | None = None
    #: Longest time of one attempt, in seconds.
    timeout_s: float | None = None
    #: Attempts; None: the queue's.
    max_attempts: int | None = None
    #: Attempts at the same time in one worker process; None: as many as the queue runs.
    max_concurrency: int | None = None
    #: Attempts started in one worker process, such as `10/m` (s, m, h); None: no limit.
    rate: str | None = None
    #: Whether it runs in a process of its own: for work that holds the interpreter.
    cpu: bool = False
    #: Whether a record is kept. Without one a task is faster, can't be looked up, and a duplicate delivery runs again.
    record: bool = True
    #: Name under which the result is also kept as `results/NAME_ID.json`; None: only where it is too large.
    result_file: str | None = None

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def parse(self, payload: Mapping[str, Any]) -> BaseModel:
        """The payload as its model. Raises `pydantic.ValidationError`."""
        return self.payload_type.model_validate(dict(payload))


def task(task_type: str, **options: Any) -> Callable[[_Function], _Function]:
    """Make a function the handler of a task type.

        @task("greet", queue="urgent")
        def greet(payload: Greet, ctx: TaskContext) -> Greeting: ...

    The first parameter's annotation is the payload model. The function returns a pydantic model, a JSON value or None.

    Args:
        task_type: the name that clients submit under.
        **options: the fields of `Handler` from `queue` on.

    Raises:
        ConfigError: at import, where the function or an option does not fit.
    """

    def register(function: _Function) -> _Function:
        where = f"{function.__module__}.{function.__qualname__}"
        try:
            check_task_type(task_type)
        except InvalidName as error:
            raise ConfigError(f"{where}: {task_type!r} is no task type: {error}") from None
        try:
            handler = Handler(task_type=task_type, function=function, payload_type=_payload_type(function), **options)
        except TypeError as error:
            raise ConfigError(f"{where}: {error}") from None
        reserved = sorted(RESERVED_FIELDS & _field_names(handler.payload_type))
        if reserved:
            raise ConfigError(f"{where}: the payload declares {', '.join(reserved)}, which only the server sets")
        setattr(function, _HANDLER, handler)
        return function

    return register


class Registry(Mapping[str, Handler]):
    """The handlers of some modules, by task type."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handlers: dict[str, Handler] = {}
        for handler in handlers:
            other = self._handlers.setdefault(handler.task_type, handler)
            if other.function is not handler.function:
                both = f"{other.function.__module__} and {handler.function.__module__}"
                raise ConfigError(f"two handlers for the task type {handler.task_type}: {both}")

    def __getitem__(self, task_type: str) -> Handler:
        return self._handlers[task_type]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._handlers))

    def __len__(self) -> int:
        return len(self._handlers)


def load(modules: Iterable[str]) -> Registry:
    """Import the modules, and those inside them where they are packages, and collect their handlers.

    Raises:
        ConfigError: a module can't be imported, or two handlers share a task type.
    """
    return Registry(handler for name in modules for module in _modules(name) for handler in _handlers(module))


def _modules(name: str) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
        yield module
        for info in pkgutil.iter_modules(getattr(module, "__path__", ()), prefix=f"{name}."):
            yield importlib.import_module(info.name)
    except ImportError as error:
        raise ConfigError(f"TASK_HANDLERS: {name} can't be imported: {error}") from error


def _handlers(module: ModuleType) -> Iterator[Handler]:
    for value in vars(module).values():
        handler = getattr(value, _HANDLER, None)
        if isinstance(handler, Handler) and handler.function.__module__ == module.__name__:
            yield handler


def _payload_type(function: Callable[..., Any]) -> type[BaseModel]:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 2:
        raise TypeError("a handler takes two parameters: the payload and the context")
    annotation = typing.get_type_hints(function).get(parameters[0])
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"annotate {parameters[0]} with a pydantic model: the payload's type")
    return annotation


def _field_names(model: type[BaseModel]) -> set[str]:
    return {alias for name, field in model.model_fields.items() for alias in (name, field.alias) if alias}
