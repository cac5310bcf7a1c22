"""Handlers by task type: the `@task` decorator, what it knows of a handler, and which handlers a worker has."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, RootModel

from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology, line_of
from poolhouse.pipeline.errors import ConfigError, InvalidName
from poolhouse.pipeline.hooks import Hook, Hooks
from poolhouse.pipeline.limits.limit import Limit
from poolhouse.pipeline.limits.rate import parse_rate
from poolhouse.pipeline.messaging import payloads
from poolhouse.pipeline.messaging.message import RESERVED_FIELDS, TaskMessage
from poolhouse.pipeline.names import check_task_type
from poolhouse.pipeline.nearest import did_you_mean
from poolhouse.pipeline.tasks.after_end import Rule
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.tasks.unique import Unique
from poolhouse.pipeline.timing.backoff import Backoff
from poolhouse.pipeline.webhooks.events import CompletionEvents
from poolhouse.pipeline.webhooks.urls import check_allowed
from poolhouse.pipeline.webhooks.webhook import Webhook
from poolhouse.worker.discovery import import_all
from poolhouse.worker.handler_secrets import check_declared
from poolhouse.worker.task_function import AsyncTaskFunction, Decorated, TaskDecorator, TaskFunction

if TYPE_CHECKING:
    from poolhouse.pipeline.store import ObjectStore  # which imports Google's clients

#: Name in a module: the handlers that `@task` has made while the module was executed, and that execution's spec.
_MADE = "__poolhouse_made__"
#: What the task types of Poolhouse itself begin with; they are made without `@task`.
_OURS = "poolhouse."


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
    #: Wait between two attempts; None: the queue's.
    backoff: Backoff | None = None
    #: Errors that another attempt may help against; all others are as `Reject`. None: every error.
    retry_on: tuple[type[Exception], ...] | None = None
    #: Errors that no attempt helps against: they are as `Reject`.
    reject_on: tuple[type[Exception], ...] = ()
    #: What all workers together may run and start, by key; None: no limit.
    limit: Limit | None = None
    #: Fields of the payload: of tasks with equal values one runs at a time, in all workers together.
    serial_by: tuple[str, ...] = ()
    #: Attempts at the same time in one worker process; None: as many as the queue runs.
    max_concurrency_per_process: int | None = None
    #: Attempts started in one worker process, such as `10/m` (s, m, h); None: no limit.
    rate_per_process: str | None = None
    #: Whether it runs in a process of its own: for work that holds the interpreter.
    cpu: bool = False
    #: Whether a record is kept. Without one a task is faster, can't be looked up, and a duplicate delivery runs again.
    record: bool = True
    #: When a task of this type is the same as another, of which one is submitted; None: never.
    unique: Unique | None = None
    #: Name under which the result is also kept as `results/NAME_ID.json`; None: only where it is too large.
    result_file: str | None = None
    #: The URL to call when a task has ended; a submit may name another.
    on_complete: Webhook | None = None
    #: Code that runs around its attempts, after the hooks of pipeline.toml.
    hooks: tuple[Hook, ...] = ()
    #: Variables of `[secrets]` that it reads: without them nothing starts.
    secrets: tuple[str, ...] = ()
    #: File and line of the decorator.
    defined_at: str = ""

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def limited(self) -> bool:
        """Whether its tasks may have to wait for a limit, of one process or of all together."""
        return bool(self.limit or self.serial_by or self.max_concurrency_per_process or self.rate_per_process)

    @property
    def limited_by(self) -> tuple[str, ...]:
        """The payload fields by whose values its tasks are limited."""
        return (*(self.limit.key if self.limit else ()), *self.serial_by)

    def rejects(self, error: BaseException) -> bool:
        """Whether an error of the function ends its task for good, by `retry_on` and `reject_on`."""
        if not isinstance(error, Exception):
            return False  # sys.exit() and its like: no error that a handler declares
        return isinstance(error, self.reject_on) or not (self.retry_on is None or isinstance(error, self.retry_on))

    def attempts_in(self, queue: Queue) -> int:
        """The attempts of its tasks in a queue."""
        return self.max_attempts or queue.max_attempts

    @cached_property
    def result_type(self) -> Any:
        """What the function is annotated to return; `Any` where it isn't."""
        found = typing.get_type_hints(self.function).get("return", Any)
        return type(None) if found is None else found

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    def queue_in(self, topology: Topology) -> str:
        """Return the queue of its tasks that name none."""
        return self.queue or topology.default_queue.name

    def parse(self, payload: Mapping[str, Any]) -> BaseModel:
        """The payload as its model. Raises `pydantic.ValidationError`."""
        return self.payload_type.model_validate(dict(payload))

    def unique_by(self, payload: Mapping[str, Any], unique: Unique) -> dict[str, Any]:
        """The values of the fields that make a task's key; equal for payloads that mean the same."""
        return self.values_of(payload, unique.by)

    def values_of(self, payload: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
        """The values of some fields, as JSON; equal for payloads that mean the same."""
        include = set(fields)
        return self.parse(payload).model_dump(mode="json", include=include) if include else {}

    def payload_of(self, payload: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
        """What a task of this type is submitted with: JSON values, complete.

        Raises:
            TypeError: it is neither a model nor a mapping.
            pydantic.ValidationError: it does not fit the task type.
            ValueError: a field of the model would be another after its way as JSON.
        """
        payloads.check_kind(payload)
        fields = payloads.sent(payload) if isinstance(payload, BaseModel) else dict(payload)
        self.parse(fields)
        return self.completed(fields)

    def completed(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The payload with the values that default factories make now: later attempts would get others.

        Raises:
            pydantic.ValidationError: it does not fit the task type.
        """
        fields = dict(payload)
        return payloads.completed(self.parse(fields), fields) if self.makes_values else fields

    @cached_property
    def makes_values(self) -> bool:
        """Whether a default factory may make other values for each attempt."""
        return payloads.makes_values(self.payload_type)


def task(task_type: str, **options: Any) -> TaskDecorator:
    """Make a function the handler of a task type.

        @task("greet", queue="urgent")
        def greet(payload: Greet, ctx: TaskContext) -> Greeting: ...

    The first parameter's annotation is the payload model. The function returns a pydantic model, a JSON value or None.
    The name is then the reference to the task type: `greet.submit(Greet(name="Ada")).result()` is a `Greeting`.

    Args:
        task_type: the name that clients submit under.
        **options: the fields of `Handler` from `queue` on.

    Raises:
        ConfigError: at import, where the function or an option does not fit.
    """
    defined_at, module = _place()

    def register(decorated: Any, /) -> Any:
        function, earlier = decorated, tuple[Handler, ...]()
        if isinstance(decorated, Decorated):  # by another @task below this one
            function, earlier = decorated.function, decorated.__poolhouse_handlers__
        where = f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', function)}"
        try:
            check_task_type(task_type)
        except InvalidName as error:
            raise ConfigError(f"{where}: {task_type!r} is no task type: {error}") from None
        if task_type.startswith(_OURS):
            raise ConfigError(
                f"{where}: {task_type!r}: task types that begin with {_OURS} are Poolhouse's own: rename it"
            )
        if isinstance(options.get("serial_by"), str):
            options["serial_by"] = (options["serial_by"],)
        if "serial_by" in options and not options["serial_by"]:
            raise ConfigError(f"{where}: serial_by names no field: name one, or leave it out")
        try:
            handler = Handler(
                task_type=task_type,
                function=function,
                payload_type=_payload_type(function),
                defined_at=defined_at,
                **options,
            )
            _check(handler)
        except (TypeError, ValueError, NameError) as error:
            raise ConfigError(f"{where}: {error}") from None
        reserved = sorted(RESERVED_FIELDS & _field_names(handler.payload_type))
        if reserved:
            raise ConfigError(f"{where}: the payload declares {', '.join(reserved)}, which only the server sets")
        spec, made = module.get(_MADE, (None, []))
        if spec is not module.get("__spec__"):  # it is executed anew: importlib.reload
            made = []
        module[_MADE] = (module.get("__spec__"), [*made, handler])
        kind = AsyncTaskFunction if handler.is_async else TaskFunction
        return kind(function, (*earlier, handler))

    return register


class Registry(Mapping[str, Handler]):
    """The handlers of some modules, by task type."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        self._handlers: dict[str, Handler] = {}
        for handler in handlers:
            other = self._handlers.setdefault(handler.task_type, handler)
            if other is not handler:
                raise ConfigError(
                    f"two handlers for the task type {handler.task_type!r}: "
                    f"{_name(other)} ({other.defined_at}) and {_name(handler)} ({handler.defined_at}); rename one"
                )

    def hooks(self, declared: Iterable[Hook]) -> Hooks:
        """The hooks of a deployment: pipeline.toml's, and those of these task types."""
        return Hooks(declared, {handler.task_type: handler.hooks for handler in self.values() if handler.hooks})

    def after_end(self, topology: Topology, task_ids: Callable[[], TaskIds], *, store: ObjectStore) -> tuple[Rule, ...]:
        """What follows the end of a task, beside what its handler has submitted.

        Args:
            topology: the declaration.
            task_ids: of the deployment; called once a task has ended.
            store: the bucket.
        """
        from poolhouse.pipeline.groups.following import LinkedTasks  # noqa: PLC0415 - it imports Google's clients

        linked = LinkedTasks(store, task_ids)
        if topology.webhooks is None:
            return (linked,)
        by_type = {handler.task_type: handler.on_complete for handler in self.values() if handler.on_complete}
        return (linked, CompletionEvents(topology.webhooks, by_type=by_type, task_ids=task_ids))

    def placed(self, task: TaskMessage, topology: Topology) -> TaskMessage:
        """The task in a queue that there is: where its own is gone by a deploy, that of its type."""
        if task.queue in topology.by_name:
            return task
        handler = self.get(task.task_type)
        queue = topology.default_queue.name if handler is None else handler.queue_in(topology)
        return replace(task, queue=queue)

    def check(self, topology: Topology, *, declared_in: str) -> None:
        """Check that these handlers and `pipeline.toml` fit together.

        Raises:
            ConfigError: as `check_queues`; or a schedule or a trigger submits a task type that has no handler here, or
                a trigger a payload that its type does not take.
        """
        self.check_queues(topology, declared_in=declared_in)
        declared = [("schedules", each.name, each.task_type) for each in topology.schedules]
        declared += [("triggers", each.name, each.task_type) for each in topology.triggers]
        unknown = [entry for entry in declared if entry[2] not in self]
        if unknown:
            known = ", ".join(self) or "none"
            raise ConfigError(
                "\n".join(
                    f"{line_of(declared_in, table, name, 'task_type')}: {table}.{name}: "
                    f"unknown task type {task_type!r} (known: {known})"
                    for table, name, task_type in unknown
                )
            )
        # With the publisher behind it, which a module of task types has no need of.
        from poolhouse.pipeline.messaging.object_events import problem_of  # noqa: PLC0415

        unfit = [(each, problem) for each in topology.triggers if (problem := problem_of(each, self))]
        if unfit:
            raise ConfigError(
                "\n".join(
                    f"{line_of(declared_in, 'triggers', each.name)}: triggers.{each.name}: {problem} "
                    "(`field` names the one that gets the file's name, `payload` has the others)"
                    for each, problem in unfit
                )
            )

    def check_queues(self, topology: Topology, *, declared_in: str) -> None:
        """Check that handlers and queues fit together.

        Raises:
            ConfigError: a handler names a queue or a secret that is not declared, or a webhook that can't be sent; or
                no payload has the field that makes a queue fair.
        """
        wrong = [handler for handler in self.values() if handler.queue not in {None, *topology.by_name}]
        if wrong:
            queues = line_of(declared_in, "queues", topology.queues[0].name)
            raise ConfigError(
                "\n".join(
                    f"{handler.defined_at}: the handler of {handler.task_type} names the queue {handler.queue!r}, "
                    f"but {queues} declares: {', '.join(topology.by_name)}"
                    for handler in wrong
                )
            )
        for handler in self.values():
            if handler.on_complete is not None:
                _check_webhook(handler.on_complete, handler.defined_at, topology)
        check_declared(self.values(), topology)
        self._check_fairness(topology, declared_in=declared_in)

    def _check_fairness(self, topology: Topology, *, declared_in: str) -> None:
        models = [handler.payload_type for handler in self.values()]
        fields = {name for model in models for name in _field_names(model)}
        if not models or any(model.model_config.get("extra") == "allow" for model in models):
            return
        for queue in topology.queues:
            if queue.fair_by is not None and queue.fair_by not in fields:
                raise ConfigError(
                    f"{line_of(declared_in, 'queues', queue.name, 'fair_by')}: queues.{queue.name}.fair_by: no task "
                    f"type has a payload with the field {queue.fair_by!r}.{did_you_mean(queue.fair_by, fields)}"
                )

    @property
    def unrecorded(self) -> frozenset[str]:
        """The task types that keep no records."""
        return frozenset(task_type for task_type, handler in self._handlers.items() if not handler.record)

    def __getitem__(self, task_type: str) -> Handler:
        try:
            return self._handlers[task_type]
        except KeyError:
            raise KeyError(f"unknown task type {task_type!r} (known: {', '.join(self) or 'none'})") from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._handlers))

    def __len__(self) -> int:
        return len(self._handlers)


def load(modules: Iterable[str]) -> Registry:
    """Import the modules, and all below them where they are packages, and collect their handlers.

    A module's handlers are those that `@task` made while it was executed, whatever became of their names, and those
    that it holds under a name of its own, such as one imported from elsewhere.

    Raises:
        ConfigError: a module can't be imported, or two handlers share a task type.
    """
    return Registry(handler for module in import_all(modules) for handler in _handlers(vars(module)))


def _handlers(module: Mapping[str, Any]) -> Iterator[Handler]:
    spec, made = module.get(_MADE, (None, ()))
    if spec is module.get("__spec__"):
        yield from made
    for value in tuple(module.values()):
        if isinstance(value, Decorated):
            yield from value.__poolhouse_handlers__


def _place() -> tuple[str, dict[str, Any]]:
    """Where the decorator is used: file and line, and the names of the module that is being executed there.

    A factory uses it inside a function, on behalf of the module that calls the factory.
    """
    frame = using = sys._getframe(2)
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    module = frame if frame.f_code.co_name == "<module>" else using
    return f"{using.f_code.co_filename}:{using.f_lineno}", module.f_globals


def _name(handler: Handler) -> str:
    return f"{handler.function.__module__}.{getattr(handler.function, '__qualname__', handler.function)}"


def _check_webhook(webhook: Webhook, defined_at: str, topology: Topology) -> None:
    if topology.webhooks is None:
        raise ConfigError(f"{defined_at}: on_complete: pipeline.toml declares no [webhooks]")
    try:
        check_allowed(webhook.url, topology.webhooks)
    except ValueError as error:
        raise ConfigError(f"{defined_at}: on_complete: the URL {error}") from None


def _check(handler: Handler) -> None:
    """Raise `ValueError` for an option that can't be, or a function that can't be a handler."""
    for name in ("timeout_s", "max_attempts", "max_concurrency_per_process"):
        value = getattr(handler, name)
        if value is not None and not (isinstance(value, int | float) and value > 0):
            raise ValueError(f"{name} must be a number above 0, not {value!r}")
    if handler.backoff is not None and not isinstance(handler.backoff, Backoff):
        raise ValueError(f"backoff must be a Backoff(base_s=…), not {handler.backoff!r}")
    for name in ("retry_on", "reject_on"):
        kinds = getattr(handler, name)
        if kinds is None and name == "retry_on":
            continue
        if not isinstance(kinds, tuple) or not all(isinstance(k, type) and issubclass(k, Exception) for k in kinds):
            raise ValueError(f"{name} must be a tuple of exception classes, such as (ConnectionError,), not {kinds!r}")
    if handler.on_complete is not None and not isinstance(handler.on_complete, Webhook):
        raise ValueError(f"on_complete must be a Webhook(url=…), not {handler.on_complete!r}")
    if not isinstance(handler.hooks, tuple) or not all(isinstance(hook, Hook) for hook in handler.hooks):
        raise ValueError(f"hooks must be a tuple of hooks, such as (Metrics(),), not {handler.hooks!r}")
    if not isinstance(handler.secrets, tuple) or not all(isinstance(name, str) for name in handler.secrets):
        raise ValueError(f'secrets must be a tuple of variables, such as ("API_TOKEN",), not {handler.secrets!r}')
    both = set(handler.retry_on or ()) & set(handler.reject_on)
    if both:
        names = ", ".join(sorted(kind.__name__ for kind in both))
        raise ValueError(f"retry_on and reject_on both name {names}: an error is retried or refused")
    if handler.unique is not None:
        if not isinstance(handler.unique, Unique):
            raise ValueError(f"unique must be a Unique(by=…), not {handler.unique!r}")
        problem = unique_problem(handler, handler.unique)
        if problem is not None:
            raise ValueError(f"unique: {problem}")
    if handler.rate_per_process is not None:
        parse_rate(handler.rate_per_process)
    _check_limits(handler)
    if inspect.isgeneratorfunction(handler.function) or inspect.isasyncgenfunction(handler.function):
        raise ValueError("a handler returns its result: it can't yield")
    if handler.cpu and handler.is_async:
        raise ValueError("cpu=True runs an ordinary function in a process: use def, or leave cpu=True out")


def _check_limits(handler: Handler) -> None:
    """Raise `ValueError` where what all workers are to share can't be."""
    if handler.limit is not None and not isinstance(handler.limit, Limit):
        raise ValueError(f'limit must be a Limit(rate="10/s", key="tenant"), not {handler.limit!r}')
    if not isinstance(handler.serial_by, tuple) or not all(isinstance(name, str) for name in handler.serial_by):
        raise ValueError(
            f"serial_by must be the name of a payload field, or a tuple of them, not {handler.serial_by!r}"
        )
    known = handler.payload_type.model_fields
    for option, fields in (
        ("limit: key", handler.limit.key if handler.limit else ()),
        ("serial_by", handler.serial_by),
    ):
        unknown = [name for name in fields if name not in known]
        if unknown:
            raise ValueError(
                f"{option}: the payload has no field {', '.join(unknown)} (fields: {', '.join(known) or 'none'})"
            )


def unique_problem(handler: Handler, unique: Unique) -> str | None:
    """Why tasks of a type can't be unique in that way; None if they can."""
    if not handler.record:
        return "a record says whether a task has ended, and record=False keeps none"
    unknown = sorted(set(unique.by) - set(handler.payload_type.model_fields))
    if unknown:
        known = ", ".join(handler.payload_type.model_fields) or "none"
        return f"by: the payload has no field {', '.join(unknown)} (fields: {known})"
    return None


def _payload_type(function: Callable[..., Any]) -> type[BaseModel]:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 2:
        raise TypeError("a handler takes two parameters: the payload and the context")
    annotation = typing.get_type_hints(function).get(parameters[0])
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"annotate {parameters[0]} with a pydantic model: the payload's type")
    if issubclass(annotation, RootModel):
        raise TypeError(
            f"a payload is an object of named fields, and the RootModel {annotation.__name__} has none: annotate "
            f"{parameters[0]} with a model that has a field for what it holds"
        )
    return annotation


def _field_names(model: type[BaseModel]) -> set[str]:
    return {alias for name, field in model.model_fields.items() for alias in (name, field.alias) if alias}
