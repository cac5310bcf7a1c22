"""What calls of the API, and waits for its tasks, may raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poolhouse.pipeline.errors import PoolhouseError


class ApiError(PoolhouseError):
    """The API refused a call or did not answer; the text has its own words.

    Attributes:
        status: the HTTP status; 0 where there was no answer.
        document: the problem document; empty where there was none.
    """

    def __init__(self, text: str, *, status: int = 0, document: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.document = dict(document or {})


class TaskFailed(PoolhouseError):
    """A task that was waited for has ended without a result.

    Attributes:
        task_id: the task.
        status: `failed`, `dead` or `cancelled`.
        reason: why, where it is known.
    """

    def __init__(self, task_id: str, status: str, reason: str | None) -> None:
        super().__init__(f"task {task_id} is {status}{f': {reason}' if reason else ''}")
        self.task_id = task_id
        self.status = status
        self.reason = reason


class ResultTimeout(PoolhouseError, TimeoutError):
    """A task has not ended in the time that its caller wanted to wait. The task goes on."""
