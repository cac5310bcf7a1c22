"""The client of the HTTP API, sync and async; imported at first use, since handlers alone need no HTTP client."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poolhouse.client.answers import Document
    from poolhouse.client.async_client import AsyncClient
    from poolhouse.client.client import Client
    from poolhouse.client.errors import ApiError, ResultTimeout, TaskFailed
    from poolhouse.client.event_stream import Event
    from poolhouse.client.handles import AsyncGroupHandle, AsyncTaskHandle, GroupHandle, TaskHandle
    from poolhouse.client.task_ref import TaskRef
    from poolhouse.client.task_type import TaskType

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncGroupHandle",
    "AsyncTaskHandle",
    "Client",
    "Document",
    "Event",
    "GroupHandle",
    "ResultTimeout",
    "TaskFailed",
    "TaskHandle",
    "TaskRef",
    "TaskType",
]
_MODULES = {
    "ApiError": "errors",
    "AsyncClient": "async_client",
    "AsyncGroupHandle": "handles",
    "AsyncTaskHandle": "handles",
    "Client": "client",
    "Document": "answers",
    "Event": "event_stream",
    "GroupHandle": "handles",
    "ResultTimeout": "errors",
    "TaskFailed": "errors",
    "TaskHandle": "handles",
    "TaskRef": "task_ref",
    "TaskType": "task_type",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
