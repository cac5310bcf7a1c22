"""Dramatiq's worker for `tests.kit.bench.peers`: an actor that leaves one INCR."""

from __future__ import annotations

import os

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker

URL = os.environ["PEER_REDIS"]
dramatiq.set_broker(RedisBroker(url=URL))
_redis = redis.Redis.from_url(URL)


@dramatiq.actor
def count() -> None:
    """Leave a mark."""
    _redis.incr("done")


def fill(number: int) -> None:
    """A backlog."""
    for _ in range(number):
        count.send()
