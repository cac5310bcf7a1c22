"""Waits for what a worker needs to be made: its bucket and its subscriptions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from google.api_core import exceptions as google_errors
from google.cloud.pubsub_v1 import SubscriberClient

from poolhouse.pipeline.errors import StoreUnavailable
from poolhouse.pipeline.store import ObjectStore
from poolhouse.worker.runtime.retrying import Stopping

_POLL_S = 0.1
#: Longest time for one look at a subscription, in seconds.
_LOOK_S = 2.0

_log = structlog.get_logger(__name__)


def await_topology(
    store: ObjectStore,
    subscriber: SubscriberClient,
    subscriptions: Sequence[str],
    *,
    timeout_s: float,
    stopping: threading.Event,
) -> None:
    """Return once the bucket and all subscriptions are there, or the time is over.

    If the time is over, the first use of what is missing reports it.

    Args:
        subscriptions: their full names. Looking at one needs the right to get it.
        timeout_s: longest time, in seconds.

    Raises:
        Stopping: `stopping` was set meanwhile.
    """
    deadline_s = time.monotonic() + timeout_s
    looks: dict[str, Callable[[], object]] = {"the bucket": store.check}
    for name in subscriptions:
        looks[name] = partial(subscriber.get_subscription, subscription=name, retry=None, timeout=_LOOK_S)
    logged = False
    for name, look in looks.items():
        while True:
            try:
                look()
                break
            except (StoreUnavailable, google_errors.NotFound, google_errors.ServerError) as error:
                if not logged:
                    _log.info("waiting for the topology", missing=name, error=str(error))
                    logged = True
            if stopping.wait(_POLL_S):
                raise Stopping
            if time.monotonic() > deadline_s:
                return
