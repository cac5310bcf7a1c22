"""The task message: one flat JSON object, as a person would publish it by hand.

`{"task_id", "task_type", "submitted_at", …payload fields}`; attributes repeat `task_id`, `task_type` and `queue`, so
that tools and filters need not parse the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from poolhouse.pipeline import json_values
from poolhouse.pipeline.config.base import is_name
from poolhouse.pipeline.errors import InvalidName, MalformedMessage
from poolhouse.pipeline.names import check_task_id, check_task_type
from poolhouse.pipeline.tasks import large_values
from poolhouse.pipeline.tasks.large_values import ValueObject
from poolhouse.pipeline.tasks.links import Links
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.timing.delays import LONGEST_WAIT_S
from poolhouse.pipeline.webhooks.urls import check_url

#: Field of a message that has what its task is linked with; a plain task's has none.
LINKS = "_poolhouse"
#: Fields of the message that only the server sets; no payload may use them.
RESERVED_FIELDS = frozenset({"task_id", "task_type", "submitted_at", LINKS})
#: How far the submission may lie ahead of the message: clocks differ, and tests move them. A task from the year 9999
#: would be the newest of every listing for good.
_AHEAD = timedelta(seconds=LONGEST_WAIT_S)
#: Attribute of a message that must not be worked on before a time.
NOT_BEFORE = "not_before"
#: Attribute of a message that waits for a limit: its time is that of the next look, and none that anybody asked for.
PUT_OFF = "put_off"
#: Attribute of a message whose task is to be followed by a webhook.
WEBHOOK_URL = "webhook_url"


@dataclass(frozen=True, kw_only=True)
class TaskMessage:
    """One task as it travels through a queue."""

    task_id: str
    task_type: str
    submitted_at: datetime
    queue: str
    payload: Mapping[str, Any]
    #: W3C trace context (`traceparent`, `tracestate`), where the submitter had one.
    trace: Mapping[str, str] = field(default_factory=dict)
    #: The time before which it must not run; None: at once.
    not_before: datetime | None = None
    #: Whether it waits for a limit, and not for `not_before`.
    put_off: bool = False
    #: What it is linked with; None: nothing.
    links: Links | None = None
    #: The object with the payload, where it is too large for a message; `payload` may then be empty.
    payload_object: ValueObject | None = None
    #: What that object is to hold, until it is written.
    payload_data: bytes | None = field(default=None, repr=False)
    #: The URL to call when it has ended, where the submitter gave one.
    webhook_url: str | None = None

    def by_reference(self, *, above_bytes: int) -> TaskMessage:
        """The task with its payload as an object, where that has more bytes; `payload_data` is still to be written."""
        data = json_values.encode(self.payload, what="the payload")
        if len(data) <= above_bytes:
            return self
        return replace(self, payload_object=large_values.payload_object(self.task_id, data), payload_data=data)

    def data(self) -> bytes:
        """The message's body."""
        body = {
            "task_id": self.task_id,
            "task_type": self.task_type,
            "submitted_at": format_time(self.submitted_at),
            **(self.payload if self.payload_object is None else {}),
        }
        if self.links is not None:
            body[LINKS] = self.links.model_dump(mode="json", exclude_none=True)
        return json_values.encode(body, what="the task")

    def attributes(self) -> dict[str, str]:
        """The message's attributes."""
        own = {"task_id": self.task_id, "task_type": self.task_type, "queue": self.queue, **self.trace}
        if self.payload_object is not None:
            own |= large_values.attributes_of(self.payload_object)
        if self.webhook_url is not None:
            own[WEBHOOK_URL] = self.webhook_url
        return own if self.not_before is None else {**own, NOT_BEFORE: format_time(self.not_before)}


def decode(
    data: bytes,
    attributes: Mapping[str, str],
    *,
    queue: str,
    message_id: str,
    published_at: datetime,
    task_ids: TaskIds,
) -> TaskMessage:
    """Read a message of `queue`.

    A message without a task id (published by hand) gets the one that belongs to its message id, so that every delivery
    of it is the same task.

    Raises:
        MalformedMessage: not a JSON object that a record can keep, no task type, or an impossible id, time or reference
            to a payload.
    """
    try:
        body = json_values.parse(data)
    except ValueError as error:
        raise MalformedMessage(f"malformed message: the body is not JSON ({error})") from None
    if not isinstance(body, dict):
        raise MalformedMessage(f"malformed message: the body is {json_values.kind(body)}, not an object")
    task_type = body.get("task_type")
    if task_type is None or task_type == "":
        raise MalformedMessage("malformed message: task_type is required")
    if not isinstance(task_type, str):
        raise MalformedMessage("malformed message: task_type is required, as a string")
    task_id = body.get("task_id", attributes.get("task_id"))
    if task_id is None:
        task_id = task_id_of(task_ids, queue=queue, message_id=message_id, published_at=published_at)
    if not isinstance(task_id, str):
        raise MalformedMessage("malformed message: task_id is not a string")
    try:
        check_task_type(task_type)
        check_task_id(task_id)
    except InvalidName as error:
        raise MalformedMessage(f"malformed message: {error}") from None
    submitted_at = _time(body.get("submitted_at"), "submitted_at") or published_at
    if submitted_at - published_at > _AHEAD:
        raise MalformedMessage("malformed message: submitted_at lies years ahead of the message")
    payload = {name: value for name, value in body.items() if name not in RESERVED_FIELDS}
    payload_object = large_values.referred(task_id, attributes)
    if payload and payload_object is not None:
        raise MalformedMessage("malformed message: it has a payload, and refers to another")
    return TaskMessage(
        task_id=task_id,
        task_type=task_type,
        submitted_at=submitted_at,
        queue=queue,
        payload=payload,
        trace={name: attributes[name] for name in ("traceparent", "tracestate") if name in attributes},
        not_before=_time(attributes.get(NOT_BEFORE), NOT_BEFORE),
        put_off=PUT_OFF in attributes,
        links=_links(body[LINKS]) if LINKS in body else None,
        payload_object=payload_object,
        webhook_url=_webhook_url(attributes.get(WEBHOOK_URL)),
    )


def _webhook_url(url: str | None) -> str | None:
    if url is not None:
        try:
            check_url(url)
        except ValueError as error:
            raise MalformedMessage(f"malformed message: {WEBHOOK_URL} {error}") from None
    return url


def task_id_of(task_ids: TaskIds, *, queue: str, message_id: str, published_at: datetime) -> str:
    """The task id of a message that names none: the same for every delivery, and wherever it is read."""
    return task_ids.derive(f"message {queue} {message_id}", published_at)


def _links(value: object) -> Links:
    try:
        links = Links.model_validate(value)
        for task_id in (links.parent_id, links.group_id):
            if task_id is not None:
                check_task_id(task_id)
        for name in (links.trigger, links.schedule):
            if name is not None and not is_name(name):
                raise InvalidName(f"{name!r} can't be declared in pipeline.toml")
    except (ValidationError, InvalidName):
        raise MalformedMessage(f"malformed message: {LINKS} is for the server alone, and this is none of its") from None
    return links


def _time(value: object, field_name: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return parse_time(value).astimezone(UTC)
        except (ValueError, OverflowError):  # OverflowError: the year 1 or 9999, and a zone that leads out of it
            pass
    raise MalformedMessage(f"malformed message: {field_name} is not an ISO 8601 time")


def format_time(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, e.g. `2026-01-31T23:59:59.123Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time; one without a zone is UTC. Raises `ValueError`."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
