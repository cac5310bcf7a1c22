"""What a client asks for, checked: a draft is a task that lacks only its id and its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from poolhouse.api.problems import FieldError, Problem, field_errors, field_problem, fields_problem
from poolhouse.api.services import Services
from poolhouse.pipeline import numbers
from poolhouse.pipeline.messaging.message import RESERVED_FIELDS, TaskMessage
from poolhouse.pipeline.tasks.links import Link, Links
from poolhouse.pipeline.tasks.unique import Unique
from poolhouse.pipeline.timing.delays import check_delay_s, run_time
from poolhouse.pipeline.webhooks.urls import check_allowed
from poolhouse.worker import plans
from poolhouse.worker.registry import Handler, unique_problem

#: Tasks of one batch call.
MAX_BATCH = 1000

_Given = ParamSpec("_Given")
_Read = TypeVar("_Read")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A task to submit: its handler takes the payload, and its queue exists."""

    task_type: str
    queue: str
    payload: Mapping[str, Any]
    #: The payload as the client sent it, without the defaults that are made anew for each call.
    sent: Mapping[str, Any]
    #: Seconds from the call, or the time, before which it must not run; at most one of them is given.
    delay_s: float | None = None
    run_at: datetime | None = None
    #: What follows its success, and its failure.
    then: tuple[Link, ...] = ()
    on_failure: Link | None = None
    #: The call's own rule, or its type's; None: it is submitted whatever there is.
    unique: Unique | None = None
    #: The URL to call when it has ended; None: its type's, if any.
    webhook_url: str | None = None

    def message(self, *, task_id: str, at: datetime, trace: Mapping[str, str]) -> TaskMessage:
        """The task's message."""
        not_before = run_time(delay_s=self.delay_s, run_at=self.run_at, now=at)
        return TaskMessage(
            task_id=task_id,
            task_type=self.task_type,
            submitted_at=at,
            queue=self.queue,
            payload=self.payload,
            trace=trace,
            not_before=not_before if not_before > at else None,
            links=Links(then=self.then or None, on_failure=self.on_failure) if self.then or self.on_failure else None,
            webhook_url=self.webhook_url,
        )


def from_flat(
    body: Mapping[str, Any], services: Services, *, options: Mapping[str, str], task_type: str | None = None
) -> Draft:
    """A draft of the simple form: `task_type` and the payload's fields side by side.

    Args:
        body: the request's body.
        services: handlers and queues.
        options: what the client says beside the payload: `queue`, `delay_s`, `run_at`, `webhook_url`.
        task_type: the type where the call itself says it; the body may then leave it out.

    Raises:
        Problem: 400 without a task type, 422 with the fields that are wrong.
    """
    named = body.get("task_type", task_type)
    if named is None or named == "":
        raise Problem(400, "task_type is required", errors=[FieldError(field="task_type", message="is required")])
    if task_type is not None and named != task_type:
        raise field_problem("task_type", f"this call submits {task_type} only: use /submit-task for other types")
    handler = _handler(named, services)
    payload = {name: value for name, value in body.items() if name != "task_type"}
    delay_s: object = options.get("delay_s")
    if isinstance(delay_s, str):
        try:
            delay_s = numbers.number(delay_s)
        except ValueError:
            raise field_problem("delay_s", "must be a number of seconds") from None
    timing = _timing(delay_s, options.get("run_at"), services)
    return _draft(
        handler,
        payload,
        options.get("queue"),
        services,
        prefix=(),
        timing=timing,
        unique=handler.unique,
        webhook_url=options.get("webhook_url"),
    )


def from_nested(body: Mapping[str, Any], services: Services) -> Draft:
    """A draft of the full form: `task_type`, `payload` and perhaps `queue`. Raises as `from_flat`."""
    named = body.get("task_type")
    if named is None or named == "":
        raise Problem(400, "task_type is required", errors=[FieldError(field="task_type", message="is required")])
    errors = [
        FieldError(field=name, message=_SERVER_SETS if name in RESERVED_FIELDS else "there is no such field")
        for name in body
        if name
        not in {"task_type", "payload", "queue", "delay_s", "run_at", "unique", "then", "on_failure", "webhook_url"}
    ]
    payload = body.get("payload", {})
    if not isinstance(payload, dict):
        errors.append(FieldError(field="payload", message="must be an object"))
    queue = body.get("queue")
    if queue is not None and not isinstance(queue, str):
        errors.append(FieldError(field="queue", message="must be a string"))
    if errors:
        raise fields_problem(errors)
    timing = _timing(body.get("delay_s"), body.get("run_at"), services)
    handler = _handler(named, services)
    unique = _unique(body.get("unique"), handler)
    draft = _draft(
        handler,
        payload,
        queue,
        services,
        prefix=("payload",),
        timing=timing,
        unique=unique,
        webhook_url=body.get("webhook_url"),
    )
    if body.get("then") is None and body.get("on_failure") is None:
        return draft
    then, on_failure = planned(plans.follow_ups, body, services.registry, services.topology)
    return replace(draft, then=then, on_failure=on_failure)


def planned(read: Callable[_Given, _Read], *args: _Given.args, **kwargs: _Given.kwargs) -> _Read:
    """Read what is to be submitted later, by a function of `poolhouse.worker.plans`. Raises `Problem`: 422."""
    try:
        return read(*args, **kwargs)
    except plans.PlanError as error:
        raise field_problem(error.field, error.message) from None


def new_time(body: Mapping[str, Any], services: Services) -> datetime:
    """The time that `delay_s` or `run_at` of a body says; one of them is given, and nothing else. Raises `Problem`."""
    other = next((name for name in body if name not in {"delay_s", "run_at"}), None)
    if other is not None:
        raise field_problem(other, "there is no such field")
    timing = _timing(body.get("delay_s"), body.get("run_at"), services)
    if not timing:
        raise field_problem("delay_s", "is required, or run_at: the time to move the task to")
    return run_time(**timing, now=services.clock())


def check_payload(task_type: str, payload: object, services: Services) -> dict[str, Any]:
    """A payload that replaces another of the same task type. Raises as `from_flat`."""
    if not isinstance(payload, dict):
        raise field_problem("payload", "must be an object")
    handler = _handler(task_type, services)
    errors = _payload_errors(handler, payload, prefix=("payload",))
    if errors:
        raise fields_problem(errors)
    return handler.completed(payload)


_SERVER_SETS = "is set by the server: leave it out"


def _handler(task_type: object, services: Services) -> Handler:
    if not isinstance(task_type, str):
        raise field_problem("task_type", "must be a string")
    handler = services.registry.get(task_type)
    if handler is None:
        known = ", ".join(services.registry) or "none"
        raise field_problem("task_type", f"unknown task type {task_type[:100]!r} (known: {known})")
    return handler


def _unique(value: object, handler: Handler) -> Unique | None:
    """The call's own rule, or the type's where it gives none. Raises `Problem`."""
    if value is None:
        return handler.unique
    if not isinstance(value, dict):
        raise field_problem("unique", 'must be an object, such as {"by": ["tenant"]}')
    try:
        unique = Unique.model_validate(value)
    except ValidationError as error:
        raise fields_problem(field_errors(error, prefix=("unique",))) from None
    problem = unique_problem(handler, unique)
    if problem is not None:
        raise field_problem("unique", problem)
    return unique


def _timing(delay_s: object, run_at: object, services: Services) -> dict[str, Any]:
    """The fields of a draft that say when it runs. Raises `Problem`."""
    if delay_s is None and run_at is None:
        return {}
    at: datetime | None = None
    if run_at is not None:
        try:
            at = datetime.fromisoformat(run_at).astimezone(UTC) if isinstance(run_at, str) and _zoned(run_at) else None
        except (ValueError, OverflowError):
            at = None
        if at is None:
            raise field_problem("run_at", "must be an ISO 8601 time with its zone, such as 2030-01-31T08:00:00Z")
    try:
        run_time(delay_s=delay_s, run_at=at, now=services.clock())
    except ValueError as error:
        name = "run_at" if delay_s is None else "delay_s"
        raise field_problem(name, str(error).removeprefix(f"{name} ")) from None
    return {"delay_s": None if delay_s is None else check_delay_s(delay_s), "run_at": at}


def _zoned(text: str) -> bool:
    return datetime.fromisoformat(text).tzinfo is not None


def _draft(
    handler: Handler,
    payload: dict[str, Any],
    queue: str | None,
    services: Services,
    *,
    prefix: tuple[str, ...],
    timing: Mapping[str, Any],
    unique: Unique | None,
    webhook_url: object,
) -> Draft:
    errors = _payload_errors(handler, payload, prefix=prefix)
    if queue is not None and queue not in services.topology.by_name:
        known = ", ".join(services.topology.by_name)
        errors.append(FieldError(field="queue", message=f"there is no queue {queue[:100]!r} (queues: {known})"))
    if unique is not None and unique.debounce_s is not None:
        if timing:
            errors.append(FieldError(field="delay_s", message="is unique.debounce_s here: give one of them"))
        timing = {"delay_s": unique.debounce_s}
    if webhook_url is not None and (problem := _webhook_problem(webhook_url, services)) is not None:
        errors.append(FieldError(field="webhook_url", message=problem))
    if errors:
        raise fields_problem(errors)
    return Draft(
        task_type=handler.task_type,
        queue=queue or handler.queue_in(services.topology),
        payload=handler.completed(payload),
        sent=payload,
        unique=unique,
        webhook_url=webhook_url if isinstance(webhook_url, str) else None,
        **timing,
    )


def _webhook_problem(url: object, services: Services) -> str | None:
    if services.topology.webhooks is None:
        return "this pipeline declares no [webhooks]: leave it out"
    if not isinstance(url, str):
        return "must be a string"
    try:
        check_allowed(url, services.topology.webhooks)
    except ValueError as error:
        return str(error)
    return None


def _payload_errors(handler: Handler, payload: dict[str, Any], *, prefix: tuple[str, ...]) -> list[FieldError]:
    reserved = [
        FieldError(field=".".join((*prefix, name)), message=_SERVER_SETS)
        for name in sorted(RESERVED_FIELDS & set(payload))
    ]
    if reserved:
        return reserved
    try:
        handler.parse(payload)
    except ValidationError as error:
        return field_errors(error, prefix=prefix)
    return []
