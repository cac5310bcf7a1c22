"""The runtime that pulls tasks, runs their handlers and records what came of them; and the handlers that ship."""

from worker.context import TaskContext
from worker.errors import Reject, Retry, TaskCancelled, TaskTimeout, WorkerStopping
from worker.registry import Payload, task

__all__ = ["Payload", "Reject", "Retry", "TaskCancelled", "TaskContext", "TaskTimeout", "WorkerStopping", "task"]
