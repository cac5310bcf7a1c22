"""The lines of the log that every attempt has: one when its handler starts, one when its outcome is durable."""

from __future__ import annotations

import logging

import structlog

from poolhouse.pipeline.tasks.records import TaskRecord
from poolhouse.worker.runtime.execution.context import Context
from poolhouse.worker.runtime.running_task import RunningTask

_log = structlog.get_logger(__name__)


def started(running: RunningTask, context: Context) -> None:
    """Log that a handler starts, and at its first attempt how long the task waited."""
    waited_s = running.waited_s
    waited = {} if waited_s is None else {"waited_s": round(waited_s, 3)}
    _log.log(_level(running), "task started", **context.fields, **waited)


def ended(running: RunningTask, context: Context, record: TaskRecord, *, outcome: str) -> None:
    """Log how an attempt ended, and how long it took.

    Args:
        running: the attempt.
        context: its handler's.
        record: the record after it.
        outcome: what became of the delivery.
    """
    attempt = record.attempts[-1]
    duration = (attempt.ended_at or record.updated_at) - attempt.started_at
    _log.log(
        _level(running),
        "task ended",
        **context.fields,
        outcome=outcome,
        duration_s=round(duration.total_seconds(), 3),
    )


def _level(running: RunningTask) -> int:
    # A task without a record is one of thousands a second: two lines would cost it a third of its time.
    return logging.INFO if running.recorded else logging.DEBUG
