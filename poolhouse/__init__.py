"""Background tasks on Google Cloud: what authors of handlers need, and those who submit tasks."""

from typing import TYPE_CHECKING, Any

from poolhouse.client.errors import ApiError, ResultTimeout, TaskFailed
from poolhouse.client.task_ref import TaskRef
from poolhouse.client.task_type import TaskType
from poolhouse.pipeline.hooks import AttemptEnd, AttemptInfo, Hook, TaskInfo
from poolhouse.worker import (
    Backoff,
    Limit,
    Payload,
    Reject,
    Retry,
    StepChanged,
    TaskCancelled,
    TaskContext,
    TaskTimeout,
    Unique,
    Webhook,
    WorkerStopping,
    task,
)

if TYPE_CHECKING:
    from poolhouse.client import AsyncClient, AsyncGroupHandle, AsyncTaskHandle, Client, GroupHandle, TaskHandle

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncGroupHandle",
    "AsyncTaskHandle",
    "AttemptEnd",
    "AttemptInfo",
    "Backoff",
    "Client",
    "GroupHandle",
    "Hook",
    "Limit",
    "Payload",
    "Reject",
    "ResultTimeout",
    "Retry",
    "StepChanged",
    "TaskCancelled",
    "TaskContext",
    "TaskFailed",
    "TaskHandle",
    "TaskInfo",
    "TaskRef",
    "TaskTimeout",
    "TaskType",
    "Unique",
    "Webhook",
    "WorkerStopping",
    "task",
]
#: Imported at first use: handlers alone need no HTTP client.
_OF_CLIENT = {"AsyncClient", "AsyncGroupHandle", "AsyncTaskHandle", "Client", "GroupHandle", "TaskHandle"}


def __getattr__(name: str) -> Any:
    if name not in _OF_CLIENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from poolhouse import client  # noqa: PLC0415 - see above

    return getattr(client, name)
