"""Background tasks on Google Cloud: what authors of handlers need."""

from poolhouse.worker import Payload, Reject, Retry, TaskCancelled, TaskContext, TaskTimeout, WorkerStopping, task

__all__ = ["Payload", "Reject", "Retry", "TaskCancelled", "TaskContext", "TaskTimeout", "WorkerStopping", "task"]
