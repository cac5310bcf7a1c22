"""The calls of the API as values: what is sent, and how the answer is read. `Client` and `AsyncClient` send them."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from poolhouse.client.answers import Document, json_of
from poolhouse.client.errors import ApiError
from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import TaskType, fields_of, name_of
from poolhouse.pipeline import json_values
from poolhouse.pipeline.groups.group import WaitFor
from poolhouse.pipeline.tasks.records import Status

#: Members of a group that one call submits.
BATCH = 500
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Call(Generic[_T]):
    """One call of the API."""

    method: str
    path: str
    read: Callable[[httpx2.Response], _T]
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The longest time without a byte of the answer, in seconds; None: the client's.
    timeout_s: float | None = None

    def sent(self) -> dict[str, Any]:
        """What is sent beside method and path.

        Raises:
            InvalidValue: JSON has no form for something in the body; the text names the place.
        """
        if self.body is None:
            return {"headers": dict(self.headers)}
        return {
            "headers": {"Content-Type": "application/json", **self.headers},
            "content": json_values.encode(self.body, what="body"),
        }


def get(path: str, query: Mapping[str, str]) -> Call[Any]:
    """A GET whose answer is JSON."""
    return Call(method="GET", path=path, query=query, read=json_of)


def post(path: str, body: Any) -> Call[Any]:
    """A POST whose answer is JSON."""
    return Call(method="POST", path=path, body=body, read=json_of)


def rebuild_index() -> Call[Any]:
    """A comparison of the index of tasks with all records, which lasts minutes where these are many."""
    return Call(method="POST", path="/index:rebuild", read=json_of, timeout_s=1800)


def submit(
    task_type: str | TaskType[Any, Any],
    payload: BaseModel | Mapping[str, Any],
    *,
    queue: str | None,
    delay_s: float | None,
    run_at: datetime | None,
    webhook_url: str | None,
    idempotency_key: str | None,
) -> Call[str]:
    """Submit a task; the answer is its id. Raises `ValueError` where the payload or a time can't be."""
    if run_at is not None and not isinstance(run_at, datetime):
        raise TypeError(f"run_at must be a datetime with its zone, not {type(run_at).__name__}")
    if run_at is not None and run_at.tzinfo is None:
        raise ValueError(f"run_at {run_at.isoformat()} has no zone: use datetime.now(UTC) + …, or give it a tzinfo")
    body = {
        "task_type": name_of(task_type),
        "payload": fields_of(payload),
        "queue": queue,
        "delay_s": delay_s,
        "run_at": None if run_at is None else run_at.isoformat(),
        "webhook_url": webhook_url,
    }
    return Call(
        method="POST",
        path="/tasks",
        body={name: value for name, value in body.items() if value is not None},
        headers=_key(idempotency_key),
        read=lambda answer: str(json_of(answer)["task_id"]),
    )


def submit_ref(ref: TaskRef[Any], *, idempotency_key: str | None) -> Call[str]:
    """Submit a task with what follows it; the answer is its id. Raises `ValueError` where a payload can't be."""
    body = ref.body()
    if "into" in body:
        raise ValueError("ref(into=…) is for a task that follows another, not for the first")
    return Call(
        method="POST",
        path="/tasks",
        body=body,
        headers=_key(idempotency_key),
        read=lambda answer: str(json_of(answer)["task_id"]),
    )


def _key(idempotency_key: str | None) -> dict[str, str]:
    if idempotency_key is None:
        return {}
    if not (idempotency_key.isascii() and idempotency_key.isprintable()):  # what a header holds
        raise ValueError(
            f"idempotency_key {idempotency_key!r}: only printable ASCII characters are possible; "
            "send a hash of a text that has others"
        )
    return {"Idempotency-Key": idempotency_key}


def new_group(
    members: Sequence[TaskRef[Any]] | None,
    *,
    then: TaskRef[Any] | None,
    on_failure: TaskRef[Any] | None,
    wait_for: WaitFor,
    idempotency_key: str,
) -> Call[Document]:
    """Submit a group; without members an open one. Raises `ValueError` where a payload can't be."""
    body: Document = {"wait_for": wait_for}
    body |= {"open": True} if members is None else {"tasks": [member.body() for member in members]}
    if then is not None:
        body["then"] = then.body()
    if on_failure is not None:
        body["on_failure"] = on_failure.body()
    return Call(
        method="POST",
        path="/groups",
        body=body,
        headers=_key(idempotency_key),
        read=lambda answer: cast(Document, json_of(answer)),
    )


def batches(members: Iterable[TaskRef[Any]]) -> Iterator[tuple[TaskRef[Any], ...]]:
    """The members of a group in batches for a call each; holds one batch at a time."""
    iterator = iter(members)
    while batch := tuple(islice(iterator, BATCH)):
        yield batch


def add_members(group_id: str, members: Sequence[TaskRef[Any]], *, offset: int) -> Call[Document]:
    """Add members to an open group."""
    body = {"offset": offset, "tasks": [member.body() for member in members]}
    return Call(
        method="POST",
        path=f"{group_path(group_id)}:add",
        body=body,
        read=lambda answer: cast(Document, json_of(answer)),
    )


def close_group(group_id: str, *, size: int) -> Call[Document]:
    """Close an open group."""
    return Call(
        method="POST",
        path=f"{group_path(group_id)}:close",
        body={"size": size},
        read=lambda answer: cast(Document, json_of(answer)),
    )


def group(group_id: str) -> Call[Document]:
    """A group, its members counted by status."""
    return Call(method="GET", path=group_path(group_id), read=lambda answer: cast(Document, json_of(answer)))


def cancel_group(group_id: str) -> Call[Document]:
    """Cancel a group."""
    return Call(
        method="POST", path=f"{group_path(group_id)}:cancel", read=lambda answer: cast(Document, json_of(answer))
    )


def group_path(group_id: str) -> str:
    """The path of a group."""
    return f"/groups/{segment(group_id)}"


def record(task_id: str) -> Call[Document]:
    """A task's record."""
    return Call(method="GET", path=f"/tasks/{segment(task_id)}", read=lambda answer: cast(Document, json_of(answer)))


def cancel(task_id: str) -> Call[Status]:
    """Cancel a task; the answer is its status."""
    return Call(
        method="POST",
        path=f"/tasks/{segment(task_id)}:cancel",
        read=lambda answer: Status(json_of(answer)["status"]),
    )


def result(task_id: str, adapter: TypeAdapter[_T]) -> Call[_T]:
    """The result of a task that has succeeded."""

    def read(answer: httpx2.Response) -> _T:
        try:
            return json_values.decode(answer.content, adapter)
        except ValidationError as error:
            raise ApiError(
                f"the result of task {task_id} is not what its type promises: {error}. Was it made by another version "
                "of the handler?",
                status=answer.status_code,
            ) from error

    return Call(method="GET", path=result_path(task_id), read=read)


def open_upload(name: str, *, content_type: str, size_bytes: int | None) -> Call[Document]:
    """Open an upload session."""
    body = {"name": name, "content_type": content_type, "size_bytes": size_bytes}
    return Call(method="POST", path="/files", body=body, read=lambda answer: cast(Document, json_of(answer)))


def result_path(task_id: str) -> str:
    """The path of a task's result."""
    return f"/tasks/{segment(task_id)}/result"


def events_path(task_id: str) -> str:
    """The path of a task's events."""
    return f"/tasks/{segment(task_id)}/events"


def file_path(name: str) -> str:
    """The path of a file: its folders are segments of their own."""
    return f"/files/{quote(name, safe='/')}"


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="")


def content_type(name: str) -> str:
    """The media type of a file, by its name."""
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
