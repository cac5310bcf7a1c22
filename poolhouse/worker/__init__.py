"""The runtime that pulls tasks, runs their handlers and records what came of them; and the handlers that ship."""

from poolhouse.pipeline.limits.limit import Limit
from poolhouse.pipeline.tasks.unique import Unique
from poolhouse.pipeline.timing.backoff import Backoff
from poolhouse.pipeline.webhooks.webhook import Webhook
from poolhouse.worker.context import TaskContext
from poolhouse.worker.errors import Reject, Retry, StepChanged, TaskCancelled, TaskTimeout, WorkerStopping
from poolhouse.worker.registry import Payload, task

__all__ = [
    "Backoff",
    "Limit",
    "Payload",
    "Reject",
    "Retry",
    "StepChanged",
    "TaskCancelled",
    "TaskContext",
    "TaskTimeout",
    "Unique",
    "Webhook",
    "WorkerStopping",
    "task",
]
