"""Background tasks on Google Cloud: what authors of handlers need."""

from poolhouse.worker import (
    Backoff,
    Payload,
    Reject,
    Retry,
    TaskCancelled,
    TaskContext,
    TaskTimeout,
    Unique,
    WorkerStopping,
    task,
)

__all__ = [
    "Backoff",
    "Payload",
    "Reject",
    "Retry",
    "TaskCancelled",
    "TaskContext",
    "TaskTimeout",
    "Unique",
    "WorkerStopping",
    "task",
]
