"""Celery's worker for `tests.kit.bench.peers`: a task that leaves one INCR, acked late as ours are."""

from __future__ import annotations

import os

import redis
from celery import Celery

URL = os.environ["PEER_REDIS"]
app = Celery("peer", broker=URL)
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=4)
_redis = redis.Redis.from_url(URL)


@app.task(name="count")
def count() -> None:
    """Leave a mark."""
    _redis.incr("done")


def fill(number: int) -> None:
    """A backlog."""
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(number):
            count.apply_async(producer=producer)
