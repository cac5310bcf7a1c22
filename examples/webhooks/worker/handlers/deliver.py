"""`deliver`: sends an event to a subscriber."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import datetime
from typing import Annotated, Any

import urllib3
from poolhouse import Backoff, Limit, Payload, TaskContext, task
from pydantic import BaseModel, Field, HttpUrl

from worker import answers, signature

#: As much of an answer as is read. What it says beyond its status is of no use.
MAX_ANSWER_BYTES = 16 * 1024
#: One for all threads of a worker. `deliver` decides about retries; a redirect is an answer like any other.
_HTTP = urllib3.PoolManager(num_pools=100, maxsize=32, timeout=urllib3.Timeout(connect=5, read=15), retries=False)


class Event(Payload):
    """What the subscriber gets as the request's body."""

    type: Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)*$", examples=["order.paid"])]
    timestamp: datetime
    data: dict[str, Any]


class Delivery(Payload):
    """An event for one subscriber; submit one for each."""

    #: Whose limits count.
    subscriber: Annotated[str, Field(min_length=1, max_length=100)]
    url: HttpUrl
    event: Event


class Receipt(BaseModel):
    """What the subscriber answered in the end."""

    status: int


@task(
    "deliver",
    queue="deliveries",
    timeout_s=30,
    # 10 s, 40 s, 160 s … 6 hours: eleven attempts in about a day.
    max_attempts=11,
    backoff=Backoff(base_s=10, factor=4, ceiling_s=6 * 3600),
    # A slow subscriber takes no more than its share of the workers, and no subscriber is flooded.
    limit=Limit(rate="10/s", max_concurrency=4, key="subscriber"),
)
def deliver(payload: Delivery, ctx: TaskContext) -> Receipt:
    """Send an event, signed; the id of the task is that of the event, in every attempt and after a replay."""
    body = payload.event.model_dump_json().encode()
    signed = signature.headers(body, event_id=ctx.task_id, now=ctx.now(), secret=os.environ["WEBHOOK_SECRET"])
    headers = {"content-type": "application/json", "user-agent": "webhooks", **signed}
    # Errors of the connection are retried like any other error.
    with closing(_HTTP.request("POST", str(payload.url), body=body, headers=headers, preload_content=False)) as answer:
        answer.read(MAX_ANSWER_BYTES)  # once an answer is read to its end, the next delivery has the connection
        answers.check(answer.status, answer.headers)
    ctx.log.info("delivered", subscriber=payload.subscriber, event_type=payload.event.type, status=answer.status)
    return Receipt(status=answer.status)
