"""The event that follows the end of a task: a task of its own, which delivers it.

Its id is derived from the task, its life (a replay begins another) and its end. So however often the end is come to,
there is one event, and its id is the `webhook-id` of every delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.messaging.message import format_time
from poolhouse.pipeline.tasks.records import FollowUp, TaskRecord
from poolhouse.pipeline.tasks.task_ids import TaskIds
from poolhouse.pipeline.webhooks.webhook import Webhook

#: The task type that delivers events.
WEBHOOK = "poolhouse.webhook"


class CompletionEvents:
    """The `poolhouse.pipeline.tasks.after_end.Rule` of completion webhooks."""

    def __init__(self, options: Webhooks, *, by_type: Mapping[str, Webhook], task_ids: Callable[[], TaskIds]) -> None:
        """Nothing is called yet.

        Args:
            options: `[webhooks]`.
            by_type: the webhooks of task types.
            task_ids: of the deployment; called once a task has one.
        """
        self._queue = options.queue
        self._by_type = by_type
        self._task_ids = task_ids

    def __call__(self, record: TaskRecord) -> Iterator[FollowUp]:
        url = self._url(record)
        queue = self._queue or record.queue
        # The event of a discarded one was sent when it died; one without a queue was never submitted for certain.
        if url is None or not queue or record.discarded_at is not None:
            return
        life = len(record.replayed_at)
        yield FollowUp(
            task_id=self._task_ids().derive(f"webhook {record.task_id} {life} {record.status}", record.submitted_at),
            task_type=WEBHOOK,
            queue=queue,
            payload={"url": url, "event": event(record)},
        )

    def _url(self, record: TaskRecord) -> str | None:
        if record.webhook_url is not None:
            return record.webhook_url
        declared = self._by_type.get(record.task_type)
        return declared.url if declared is not None and record.status in declared.on else None


def event(record: TaskRecord) -> dict[str, Any]:
    """Return what a receiver is sent. Neither payload nor traceback: the receiver may be anyone's."""
    data: dict[str, Any] = {
        "task_id": record.task_id,
        "task_type": record.task_type,
        "queue": record.queue,
        "status": str(record.status),
        "submitted_at": format_time(record.submitted_at),
        "ended_at": format_time(record.updated_at),
    }
    if record.result_object is not None and record.result is None:
        data["result_bytes"] = record.result_object.size_bytes  # GET /tasks/ID/result has it
    elif record.status == "succeeded":
        data["result"] = record.result
    if record.reason is not None:
        data["reason"] = record.reason
    if record.status in {"failed", "dead"} and record.attempts and (error := record.attempts[-1].error) is not None:
        data["error"] = {"type": error.type, "message": error.message}
    return {"type": f"task.{record.status}", "timestamp": format_time(record.updated_at), "data": data}
